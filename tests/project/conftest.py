"""The program in an empty folder, as a user without any setting of their own starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.cli.main import main

Gpurun = Callable[..., tuple[int, str]]


@pytest.fixture
def gpurun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Gpurun:
    """Runs it in tmp_path/work; gives exit code and everything printed."""
    for name in [name for name in os.environ if name.startswith("GPURUN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user-state"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gpurun", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        both = printed.out + printed.err
        assert "Traceback" not in both and "internal error" not in both
        return int(ended.value.code or 0), both

    return run
