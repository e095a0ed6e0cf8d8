"""A diff hides the secret that is, and the one that was in its place."""

from __future__ import annotations

import pytest

from runner.modules.base import FileDiff
from runner.reports.diffs import diff_text
from runner.secrets.previous import without_previous
from runner.secrets.redact import KNOWN

T, B = "«secret:t»", "«secret:t, before»"


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        # The same line but for the secret.
        ("a\ntoken=old\n", f"a\ntoken={T}\n", f"a\ntoken={B}\n"),
        ("x='old' # y\r\n", f"x='{T}' # y\r\n", f"x='{B}' # y\r\n"),
        # The same key, all else different.
        ("token: old # once\nz\n", f'token: "{T}"\nz\n', f"token: {B}\nz\n"),
        ("a:1 token=old b\n", f"a:2 token={T}\n", f"a:1 token={B}\n"),
        # Several in one line.
        (
            "u=o1 p=o2;\n",
            "u=«secret:u» p=«secret:p»;\n",
            "u=«secret:u, before» p=«secret:p, before»;\n",
        ),
        # A line that is all secret, as in a key: whatever goes may be the old one.
        ("head\nold1\nold2\n", f"head\n{T}\n", f"head\n{B}\n{B}\n"),
        # Nothing like it: where the old one stood is not known.
        ("password=old\nhead\n", f"token={T}\nhead\n", f"{B}\nhead\n"),
        # The same secret as before.
        (f"token={T}\na\n", f"token={T}\nb\n", f"token={T}\na\n"),
    ],
)
def test_the_former_secret_is_hidden(before: str, after: str, shown: str) -> None:
    assert without_previous(before, after) == shown


def test_a_diff_in_which_only_the_secret_differs_says_that_it_changed() -> None:
    KNOWN.add("new-secret", "t")
    text = diff_text(FileDiff("/etc/x", "a\ntoken=old-secret\n", "a\ntoken=new-secret\n"))
    assert text.splitlines()[3:] == [" a", f"-token={B}", f"+token={T}"]


def test_two_values_of_one_name_differ_though_they_look_alike() -> None:
    for value in ("new-secret", "old-secret"):
        KNOWN.add(value, "t")
    text = diff_text(FileDiff("/etc/x", "token=old-secret\n", "token=new-secret\n"))
    assert text == "(only the value of a secret differs)"


def test_a_secret_folded_over_lines_of_a_file_is_one_mark() -> None:
    KNOWN.add("a-secret-of-some-length", "t")
    text = diff_text(FileDiff("/etc/x", None, "a-secret-of-\n  some-length\nend\n"))
    assert text.splitlines()[3:] == [f"+{T}", "+end"]
