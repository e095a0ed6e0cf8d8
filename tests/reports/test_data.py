"""Diffs and exit codes."""

from __future__ import annotations

import pytest

from runner.modules.base import FileDiff
from runner.reports.data import STATUSES, diff_text, exit_code


def counts(**given: int) -> dict[str, int]:
    return dict.fromkeys(STATUSES, 0) | given


@pytest.mark.parametrize(
    ("given", "applied", "code"),
    [
        ({"ok": 3}, True, 0),
        ({"ok": 1, "changed": 2}, True, 0),
        ({"ok": 1, "failed": 1}, True, 2),
        ({"failed": 2}, True, 1),
        ({"changed": 2, "denied": 1}, True, 4),
        ({"changed": 1, "drifted": 1, "failed": 1}, True, 3),
        ({"changed": 1, "unreachable": 1}, True, 2),
        ({"ok": 2}, False, 0),
        ({"ok": 2, "pending": 1}, False, 2),
        ({"pending": 1, "denied": 1}, False, 2),
        ({"denied": 1}, False, 4),
        ({"pending": 1, "unreachable": 1}, False, 1),
    ],
)
def test_exit_codes(given: dict[str, int], applied: bool, code: int) -> None:
    assert exit_code(counts(**given), applied) == code


def test_a_diff_shows_mode_and_content_in_one_block() -> None:
    diff = FileDiff("/etc/x", "a\nb\n", "a\nc\n", (("mode", "0644", "0600"),))
    assert diff_text(diff).splitlines() == [
        "mode: 0644 -> 0600",
        "--- /etc/x (before)",
        "+++ /etc/x (after)",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]


def test_invisible_differences_are_made_visible() -> None:
    text = diff_text(FileDiff("/etc/x", "a \r\nb", "a\nb\n"))
    assert "-a·␍" in text
    assert "-\\ no newline at end of file" in text


def test_sensitive_content_is_not_shown() -> None:
    assert "hunter2" not in diff_text(FileDiff("/x", None, "hunter2\n", sensitive=True))
