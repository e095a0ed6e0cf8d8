"""A project on one fake host, whose files lie below a temporary folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.cli.apply import carry_out
from runner.cli.options import RunOptions
from runner.cli.resume import resume
from runner.cli.rollback import rollback
from runner.engine import run as engine
from runner.inventory.model import Host
from runner.journal.store import Journal
from runner.modules.files import copies
from runner.secrets.redact import KNOWN
from tests.engine.local_host import LocalHost


class Connection(LocalHost):
    """Stands for the SSH connection."""

    def __init__(self, host: Host, **_: Any) -> None:
        super().__init__()

    def open(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class Project:
    """Runs of playbooks, and what was printed."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    printed: str = ""

    @property
    def root(self) -> Path:
        """The folder that playbooks change: {root} in their texts."""
        return self.folder / "host"

    @property
    def copies(self) -> Path:
        """What run-1 keeps on the host."""
        return self.folder / "kept" / "run-1"

    def write(self, text: str) -> None:
        (self.folder / "p.yaml").write_text(text.replace("{root}", str(self.root)))

    def apply(self, text: str, run: str = "run-1", *, resumed: bool = False, **given: Any) -> int:
        self.write(text)
        options = RunOptions("p.yaml", ("gpu-1,",), str(self.folder), yes=True, **given)
        pid = os.getpid() if resumed else None
        return self._told(carry_out(options, run, "terminal", False, pid))

    def rollback(self, *arguments: str) -> int:
        return self._told(rollback.main(list(arguments), standalone_mode=False))

    def resume(self, *arguments: str) -> int:
        return self._told(resume.main(list(arguments), standalone_mode=False))

    def report(self, *arguments: str) -> dict[str, Any]:
        """What `--output json` prints."""
        self.rollback(*arguments, "--output", "json")
        found: dict[str, Any] = json.loads(self.printed)
        return found

    def _told(self, code: int) -> int:
        self.printed = self.capture.readouterr().out
        return code

    @property
    def journal(self) -> bytes:
        """Every byte of the journal's files."""
        return b"".join(path.read_bytes() for path in self.folder.glob("journal.sqlite*"))

    def last_rollback(self) -> str:
        journal = Journal(self.folder / "journal.sqlite")
        try:
            return next(run.id for run in journal.runs() if run.arguments["rollback"])
        finally:
            journal.close()


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setenv("GPURUN_JOURNAL", str(tmp_path / "journal.sqlite"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "host").mkdir()
    monkeypatch.setattr(copies, "FOLDER", str(tmp_path / "kept"))
    yield Project(tmp_path, capsys)
    KNOWN.forget()
