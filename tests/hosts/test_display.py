"""What hosts send cannot steer the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.hosts.display import printable


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("plain text, ü 漢 🙂\n\tindented", "plain text, ü 漢 🙂\n\tindented"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("progress 1%\rprogress 2%", "progress 1%\\x0dprogress 2%"),
        ("dos\r\nlines\r\n", "dos\nlines\n"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\u2066hidden\u2069", "\\u2066hidden\\u2069"),
        ("back\x08\x7f", "back\\x08\\x7f"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_shown_not_obeyed(sent: str, shown: str) -> None:
    assert printable(sent) == shown


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=50))
def test_nothing_that_controls_is_ever_left(text: str) -> None:
    left = set(printable(text)) - set("\n\t\u200c\u200d")
    assert not {unicodedata.category(one) for one in left} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
