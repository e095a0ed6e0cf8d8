"""Exit codes."""

from __future__ import annotations

import pytest

from runner.reports.data import STATUSES, exit_code


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
