"""`gpurun history` says what a run was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runner.cli.history import history, show
from runner.journal.store import Journal


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "  p.yaml  -i prod"),
        ({"rollback": "run-0"}, "  rollback of run-0 (p.yaml)  -i prod"),
        ({"take_over": "run-0"}, "  p.yaml, taking over from run-0  -i prod"),
    ],
)
def test_a_way_back_and_a_take_over_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("GPURUN_JOURNAL", str(tmp_path / "journal.sqlite"))
    journal = Journal(tmp_path / "journal.sqlite")
    journal.begin("run-1", "p.yaml", {"inventories": ["prod"], **arguments})
    journal.close()
    assert words in CliRunner().invoke(history, standalone_mode=False).output
    told = CliRunner().invoke(show, standalone_mode=False).output
    assert words.strip().replace("  -i", " -i") in told
