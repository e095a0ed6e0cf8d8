"""Contents that only a file's owner may read stay out of plans."""

from __future__ import annotations

import pytest

from runner.modules.files.change import difference
from runner.modules.files.state import FileState
from runner.reports.diffs import diff_text


def state(mode: int, content: bytes) -> FileState:
    return FileState("/etc/token", "file", mode=mode, content=content, size=len(content))


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [(0o644, 0o644, True), (0o640, 0o640, True), (0o600, 0o600, False), (0o644, 0o400, False)],
)
def test_a_private_file_is_not_shown(before: int, after: int, shown: bool) -> None:
    text = diff_text(difference(state(before, b"old-secret\n"), state(after, b"new-secret\n")))
    assert ("old-secret" in text) is shown
    assert ("new-secret" in text) is shown
