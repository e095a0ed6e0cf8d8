"""The playbook whose check is timed is sound, and as long as is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import commands
from runner.playbook.lint import lint
from runner.playbook.load import load_playbook_text


def test_the_playbook_has_as_many_tasks_as_asked_for_and_no_mistake() -> None:
    loaded = load_playbook_text(commands.playbook(50), Path("many.yaml"))
    assert len(loaded.plays[0].tasks) == 50
    assert lint(loaded) == []


def test_a_command_that_fails_is_not_timed() -> None:
    with pytest.raises(RuntimeError, match="false"):
        commands.seconds(["false"])


def test_gpurun_is_measured_also_where_nothing_else_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PROJECT", tmp_path)
    kinds = [(kind, tool) for kind, tool, _ in commands.lines(tmp_path)]
    assert kinds == [("help", "gpurun"), ("lint", "gpurun")]
