"""Edits of INI texts: the meaning is the merge, as Python's own reader sees it; the rest stays."""

from __future__ import annotations

import configparser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runner.modules.files.ini_edit import Lines, Wanted, edit
from runner.modules.ini_file import IniFileArguments

NAMES = st.sampled_from(["a", "b c", "x.y", "ü"])
VALUES = st.sampled_from(["1", "a = b", "two words", "", "#no comment", "a;b"])
OTHER = st.sampled_from(["", "# a = 1", "; [b c]", "   # indented", "\t"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Sections of different names, options once in each, in many layouts."""
    lines: list[str] = draw(st.lists(OTHER, max_size=2))
    for section in draw(st.lists(NAMES, unique=True, max_size=3)):
        lines.append(f"[{section}]")
        for option in draw(st.lists(NAMES, unique=True, max_size=3)):
            equals = draw(st.sampled_from(["=", " = ", "  =\t"]))
            indent = draw(st.sampled_from(["", "  "]))
            lines += [f"{indent}{option}{equals}{draw(VALUES)}", *draw(st.lists(OTHER, max_size=2))]
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return newline.join(lines) + draw(st.sampled_from(["", newline]))


def read(text: str) -> dict[str, dict[str, Any]]:
    parser = configparser.RawConfigParser(
        delimiters=("=",), empty_lines_in_values=False, allow_no_value=True
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    # Python takes any deeper line for the rest of a value: that is not what is tested here.
    parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    return {name: dict(parser.items(name)) for name in parser.sections()}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(documents(), NAMES, NAMES, VALUES)
def test_set_means_the_merge_and_twice_is_once(
    text: str, section: str, option: str, value: str
) -> None:
    wanted = Wanted(section, option=option, values=[value])
    after = edit(text, wanted)
    expected = read(text)
    there = expected.setdefault(section, {}).get(option)
    expected[section][option] = value
    assert read(after) == expected
    assert edit(after, wanted) == after
    if there == value:
        assert after == text


@settings(max_examples=80, deadline=None, derandomize=True)
@given(documents(), NAMES, NAMES)
def test_removal_takes_only_its_lines(text: str, section: str, option: str) -> None:
    after = edit(text, Wanted(section, option=option, present=False))
    expected = read(text)
    gone = expected.get(section, {}).pop(option, None)
    assert read(after) == expected
    assert len(after.splitlines()) == len(text.splitlines()) - (gone is not None)
    assert edit(after, Wanted(section, option=option, present=False)) == after
    without = edit(text, Wanted(section, present=False))
    assert read(without) == {k: v for k, v in expected.items() if k != section}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(documents(), NAMES, VALUES)
def test_an_addition_keeps_every_line_and_can_be_taken_back(
    text: str, section: str, value: str
) -> None:
    after = edit(text, Wanted(section, option="new", values=[value]))
    kept = iter(after.splitlines())
    assert all(any(line == other for other in kept) for line in text.splitlines())
    back = edit(after, Wanted(section, option="new", present=False))
    if section in read(text):
        assert back.rstrip("\r\n") == text.rstrip("\r\n")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text("[]a=#; \t\r\n\x0b\x85\u2028\ufeff\\", max_size=30))
def test_any_text_is_kept_byte_for_byte(text: str) -> None:
    assert Lines(text).text() == text
    sections = Lines(text).sections
    assert [s.start for s in sections[1:]] == [s.end for s in sections[:-1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give section, option, or both"),
        ({"section": "a", "option": "x"}, "value is needed"),
        ({"section": "a", "value": "1"}, "a value belongs to an option"),
        ({"section": "a", "option": "x", "value": "1", "values": ["2"]}, "not both"),
        ({"section": "a", "option": "x", "value": True}, "quote it as it shall read"),
        ({"section": "a", "option": "x", "value": "a\nb"}, "one line each"),
        ({"section": "a", "option": "x", "value": " a"}, "blanks around a value"),
        ({"section": "a", "option": "#x", "value": "a"}, "would not be read as an option"),
        ({"section": "a]", "option": "x", "value": "a"}, "cannot hold ]"),
        (
            {"option": "x", "value": "1", "section_has_values": [{"option": "y"}]},
            "section_has_values needs section",
        ),
    ],
)
def test_wrong_arguments_say_what_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        IniFileArguments(path="/f", **values)
    assert message in str(raised.value)
