"""What `resume` takes over from the run it goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.cli.apply import apply, carry_out
from runner.cli.options import RunOptions
from runner.cli.resume import resume
from runner.engine import run as engine
from runner.inventory.model import Host
from tests.engine.local_host import LocalHost

PLAYBOOK = """
- name: one file
  hosts: all
  tasks:
    - name: file
      copy: {{content: "x\\n", dest: {folder}/file}}
      risk: high
"""


class Connection(LocalHost):
    """Stands for the SSH connection; breaks at the change while `broken` is set."""

    broken = True

    def __init__(self, host: Host, **_: Any) -> None:
        super().__init__(breaks_at_change=Connection.broken)

    def open(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setenv("GPURUN_JOURNAL", str(tmp_path / "journal.sqlite"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("sys.stdin", None)
    (tmp_path / "p.yaml").write_text(PLAYBOOK.format(folder=tmp_path))
    options = RunOptions("p.yaml", ("gpu-1,",), str(tmp_path), yes=True)
    monkeypatch.chdir(tmp_path)
    Connection.broken = True
    assert carry_out(options, "run-1", "terminal", False) == 1
    Connection.broken = False
    return tmp_path


def resumed(*arguments: str) -> int:
    code: int = resume.main(list(arguments), standalone_mode=False)
    return code


def test_an_approved_run_is_resumed_as_approved_and_only_once(folder: Path) -> None:
    assert resumed("run-1") == 0
    assert (folder / "file").read_text() == "x\n"
    with pytest.raises(Exception, match="nothing of it is left to resume"):
        resumed("run-1")


def test_nodes_are_taken_over_from_a_known_run_by_a_play_that_proves_them(folder: Path) -> None:
    def applied(run: str) -> int:
        given = ["p.yaml", "-i", "gpu-1,", "--yes", "--take-over", run]
        code: int = apply.main(given, standalone_mode=False)
        return code

    with pytest.raises(Exception, match="no run begins with 'run-2'"):
        applied("run-2")
    with pytest.raises(Exception, match="'one file' has no `verify`"):
        applied("run-1")
    proof = "  verify:\n    - {name: it is there, assert: {that: true}}\n"
    (folder / "p.yaml").write_text((folder / "p.yaml").read_text() + proof)
    assert applied("run-") == 0
    with pytest.raises(Exception, match="is done"):
        resumed()


def test_an_edited_playbook_has_to_be_approved_anew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "p.yaml").read_text()
    (folder / "p.yaml").write_text(text.replace('"x', '"edited'))
    assert resumed("run-1") == 4
    assert "has changed since this run was approved" in capsys.readouterr().out
    assert not (folder / "file").exists()
    assert resumed("run-1", "--yes") == 0
    assert (folder / "file").read_text() == "edited\n"
