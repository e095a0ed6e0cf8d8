"""Edits of TOML: for all documents and patches the meaning is the merge, and the rest stays."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.modules.base import Refused
from runner.modules.files.data import find, merge, same
from runner.modules.files.toml_edit import edit
from runner.modules.files.toml_layout import scan

KEYS = st.sampled_from(["a", "b", "c-d", "x.y", "io.containerd.grpc.v1.cri", "", "ü", '"'])
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12),
    st.dates(),
    st.lists(st.one_of(st.integers(), st.text("ab'\"\\#]\n", max_size=5)), max_size=3),
)
TABLES = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=3),
    lambda inner: st.dictionaries(KEYS, st.one_of(VALUES, inner), max_size=4),
    max_leaves=12,
)
COMMENTS = st.sampled_from(["", "", "# a comment", "   # indented = 1", "\t"])


def key(name: str) -> str:
    return tomlkit.key(name).as_string()


class Writer:
    """Writes a document in a layout that is drawn statement by statement."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []

    def value(self, value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key(k)} = {self.value(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list) and self.draw(st.booleans()):
            return "[\n" + "".join(f"  {self.value(v)}, # each\n" for v in value) + "]"
        return str(tomlkit.item(value).as_string())

    def section(self, table: dict[str, Any], path: tuple[str, ...], indent: str) -> None:
        """Values and dotted or inline tables first, then the tables with headers."""
        later: list[str] = []
        for name, value in table.items():
            self.lines.append(self.draw(COMMENTS))
            how = self.draw(st.sampled_from(["inline", "dotted", "header", "header"]))
            if not isinstance(value, dict) or how == "inline":
                self.lines.append(f"{indent}{key(name)} = {self.value(value)}  # why")
            elif how == "dotted" and value:
                for k, v in value.items():
                    self.lines.append(f"{indent}{key(name)}.{key(k)}={self.value(v)}")
            else:
                later.append(name)
        for name in later:
            self.headed(table[name], (*path, name), indent)

    def headed(self, table: dict[str, Any], path: tuple[str, ...], indent: str) -> None:
        """A table with its own header, or only with those of the tables in it."""
        self.lines.append(self.draw(COMMENTS))
        inner = indent + self.draw(st.sampled_from(["", "  "]))
        only_tables = table and all(isinstance(v, dict) and v for v in table.values())
        if only_tables and self.draw(st.booleans()):
            for name, value in table.items():
                self.lines.append(f"{inner}[{'.'.join(map(key, (*path, name)))}] # direct")
                self.section(value, (*path, name), inner)
        else:
            self.lines.append(f"{inner}[{'.'.join(map(key, path))}]")
            self.section(table, path, inner)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """TOML in many layouts: headers, dotted keys, inline tables, comments, blank lines, CRLF."""
    writer = Writer(draw)
    writer.section(draw(TABLES), (), "")
    whole = "\n".join(writer.lines) + draw(st.sampled_from(["", "\n"]))
    return whole.replace("\n", "\r\n") if draw(st.integers(0, 9)) == 0 else whole


def without_conflicts(data: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The patch without keys where a table would meet a value."""
    kept: dict[str, Any] = {}
    for name, value in patch.items():
        there = data.get(name)
        if there is None or isinstance(there, dict) == isinstance(value, dict):
            kept[name] = without_conflicts(there, value) if isinstance(there, dict) else value
    return kept


def subsequence(short: list[str], long: list[str]) -> bool:
    rest = iter(long)
    return all(any(item == other for other in rest) for item in short)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(documents(), TABLES)
def test_set_means_the_merge_and_twice_is_once(text: str, patch: dict[str, Any]) -> None:
    before = tomllib.loads(text)
    patch = without_conflicts(before, patch)
    expected = deepcopy(before)
    merge(expected, patch)
    after = edit(text, wanted=patch)
    assert same(tomllib.loads(after), expected)
    assert edit(after, wanted=patch) == after
    if same(before, expected):
        assert after == text


@settings(max_examples=100, deadline=None, derandomize=True)
@given(documents(), st.dictionaries(st.sampled_from(["new1", "new 2"]), TABLES, min_size=1))
def test_additions_keep_every_line_and_can_be_taken_back(text: str, patch: dict[str, Any]) -> None:
    after = edit(text, wanted=patch)
    assert subsequence(text.splitlines(), after.splitlines())
    back = edit(after, remove=[(name,) for name in patch])
    assert same(tomllib.loads(back), tomllib.loads(text))
    assert back.rstrip() == text.rstrip()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(documents(), st.data())
def test_removal_takes_only_its_key(text: str, data: st.DataObject) -> None:
    document = tomllib.loads(text)
    path: tuple[str, ...] = ()
    value: Any = document
    while isinstance(value, dict) and value and (not path or data.draw(st.booleans())):
        path = (*path, data.draw(st.sampled_from(sorted(value))))
        value = value[path[-1]]
    if not path:
        return
    after = edit(text, remove=[path])
    assert find(tomllib.loads(after), path) is None
    assert subsequence([line for line in after.splitlines() if "{" not in line], text.splitlines())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(documents())
def test_statements_cover_the_text(text: str) -> None:
    assert "".join(text[s.start : s.end] for s in scan(text)) == text


CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a value keeps its comment and its quotes": (
        "a = 'x'   # why\nb = 1\n",
        {"a": "y"},
        "a = 'y'   # why\nb = 1\n",
    ),
    "a new key goes behind the last of its table, not behind the next one's comment": (
        "[a]\n  x = 1\n\n# about b\n[b]\n",
        {"a": {"y": 2}},
        "[a]\n  x = 1\n  y = 2\n\n# about b\n[b]\n",
    ),
    "a root key goes before the first table": (
        "# head\n\n[a]\nx = 1\n",
        {"version": 2},
        "# head\n\nversion = 2\n\n[a]\nx = 1\n",
    ),
    "a new table takes indentation and blank lines of its siblings": (
        "[p]\n\n  [p.runc]\n    x = 1\n\n  [p.kata]\n    x = 2\n\n[q]\n",
        {"p": {"nvidia": {"x": 3}}},
        "[p]\n\n  [p.runc]\n    x = 1\n\n  [p.kata]\n    x = 2\n\n  [p.nvidia]\n    x = 3\n\n[q]\n",
    ),
    "a table of dotted keys grows by a dotted key": (
        "[p]\nr.a = 1\ns = 2\n",
        {"p": {"r": {"b": 2}}},
        "[p]\nr.a = 1\nr.b = 2\ns = 2\n",
    ),
    "an inline table stays inline": (
        "r = { a = 1, b = { c = 2 } } # end\n",
        {"r": {"b": {"d": "x"}}},
        'r = { a = 1, b = { c = 2, d = "x"} } # end\n',
    ),
    "a last line without an end keeps none": (
        "[a]\nx = 1",
        {"b": {"y": 2}},
        "[a]\nx = 1\n[b]\ny = 2",
    ),
    "a table known only from its subtables gets its own header": (
        "[a.b]\n  x = 1\n",
        {"a": {"y": 2}},
        "[a]\n  y = 2\n[a.b]\n  x = 1\n",
    ),
    "Windows line ends stay": ("a = 1\r\n", {"b": 2}, "a = 1\r\nb = 2\r\n"),
    "nothing differs": ("a=1 #x\n\n\n[b]", {"a": 1, "b": {}}, "a=1 #x\n\n\n[b]"),
}


@pytest.mark.parametrize("name", CASES)
def test_layout(name: str) -> None:
    before, wanted, after = CASES[name]
    assert edit(before, wanted=wanted) == after


APPENDED = {
    "empty": ("a = []\n", 'a = ["z"]\n'),
    "one line": ('a = ["x"]\n', 'a = ["x", "z"]\n'),
    "single quotes": ("a = ['x']\n", "a = ['x', 'z']\n"),
    "one line, trailing comma": ('a = ["x",]\n', 'a = ["x", "z"]\n'),
    "many lines": ('a = [\n  "x", # why\n]\n', 'a = [\n  "x", # why\n  "z",\n]\n'),
    "many lines, no comma": ('a = [\n  "x" # why\n]\n', 'a = [\n  "x", # why\n  "z"\n]\n'),
    "there already": ("a = ['z', 'x']\n", "a = ['z', 'x']\n"),
    "no array yet": ("b = 1\n", 'b = 1\na = ["z"]\n'),
}


@pytest.mark.parametrize("name", APPENDED)
def test_append_unique(name: str) -> None:
    before, after = APPENDED[name]
    assert edit(before, append={("a",): ["z"]}) == after


@pytest.mark.parametrize("name", sorted({*APPENDED} - {"one line, trailing comma", "no array yet"}))
def test_what_was_appended_can_be_taken_out(name: str) -> None:
    before, after = APPENDED[name]
    if before != after:
        assert edit(after, take={("a",): ["z"]}) == before
    assert edit(after, take={("a",): ["of another kind", 1]}) == after


TAKEN = {
    "the first": ('a = ["z", "x"] # why\n', 'a = ["x"] # why\n'),
    "the only": ("a = [ 'z' ]\n", "a = [ ]\n"),
    "each of them": ('a = ["z", "x", "z"]\n', 'a = ["x"]\n'),
    "a line of its own": ('a = [\n  "z",\n  "x", # why\n]\n', 'a = [\n  "x", # why\n]\n'),
    "beside others": ('a = [["z"], {b = "z"}, "z"]\n', 'a = [["z"], {b = "z"}]\n'),
    "no array": ("b = 1\n", "b = 1\n"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_take_out_of_an_array(name: str) -> None:
    before, after = TAKEN[name]
    assert edit(before, take={("a",): ["z"]}) == after


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "not TOML": ("a = [1\nb = 2\n", {"a": 1}, "/etc/x.toml is not valid TOML"),
    "line and column are named": ("a = 1\nb = = 2\n", {"a": 2}, "at line 2, column 5"),
    "table over value": ("a = 1\n", {"a": {"b": 1}}, "a is a value, a table is wanted"),
    "value over table": ("[a.b]\n", {"a": {"b": 1}}, "a.b is a table, a value is wanted"),
    "inside an array of tables": ("[[a]]\nx = 1\n", {"a": {"x": 2}}, "a is a value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    text, wanted, message = REFUSED[name]
    with pytest.raises(Refused, match=message):
        edit(text, wanted=wanted, name="/etc/x.toml")


def test_an_array_of_tables_may_stand_anywhere() -> None:
    text = "[[a]]\nx = 1\n[a.sub]\ny = 1\n[[a]]\nx = 2\n[b]\nz = 1\n"
    assert edit(text, wanted={"b": {"w": 2}}) == text + "w = 2\n"


def test_one_is_not_true_and_not_one_point_zero() -> None:
    assert edit("a = 1\n", wanted={"a": True}) == "a = true\n"
    assert edit("a = 1\n", wanted={"a": 1.0}) == "a = 1.0\n"
