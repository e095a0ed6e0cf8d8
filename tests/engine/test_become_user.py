"""`become_user`: every command of a task is the user's, and no other's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.engine import run as engine
from runner.engine.events import Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.hosts.script import Command
from runner.inventory.model import Host, Inventory
from runner.playbook.load import load_playbook
from tests.engine.test_run import Connection

PLAY = """
- name: users {folder}
  hosts: all
  become: true
  {play}
  tasks:
    - name: file
      copy: {{content: x, dest: {folder}/file}}
      notify: after
      {task}
    - name: fact
      debug: "{{{{ facts.kernel.release }}}}"
  handlers:
    - name: after
      shell: echo
"""


class Noted(Connection):
    """Keeps what it was asked to run."""

    asked: list[Command] = []

    def look(self, commands: Any) -> Any:
        Noted.asked += commands
        return super().look(commands)

    def change(self, blocks: Any) -> Any:
        for block in blocks:
            Noted.asked += [*([block.guard] if block.guard else []), *block.do, *block.reread]
        return super().change(blocks)


def users(
    folder: Path, monkeypatch: pytest.MonkeyPatch, play: str = "", task: str = "", **variables: str
) -> dict[str, set[str]]:
    """Who ran the file's commands, who the facts, marks and handlers."""
    monkeypatch.setattr(engine, "Connection", Noted)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(folder))
    Noted.asked = []
    text = PLAY.format(folder=folder, play=play, task=task)
    (folder / "playbook.yaml").write_text(text)
    host = Host("a", "192.0.2.1", Origin("hosts.yaml", 1, 1), variables=variables)
    run = Run(
        load_playbook(folder / "playbook.yaml"),
        Inventory(("x",), {"a": host}, {"all": ("a",)}),
        Settings(run="test"),
        Events([]),
        lambda states: True,
        Stop(),
    )
    states: list[HostState] = run.apply()
    assert states[0].result is not None and states[0].result.status == "changed", states[0].result
    found: dict[str, set[str]] = {"file": set(), "other": set()}
    for command in Noted.asked:
        assert command.become
        of_play = command.key.startswith(("gpurun:", "handlers/", "kernel", "boot"))
        kind = "other" if of_play or command.key.endswith("mark") else "file"
        found[kind].add(command.user)
    return found


@pytest.mark.parametrize(
    ("play", "task", "variables", "file", "other"),
    [
        ("", "", {}, "root", "root"),
        ("become_user: ops", "", {}, "ops", "ops"),
        ("", "become_user: ops", {}, "ops", "root"),
        ("become_user: one", 'become_user: "{{ name }}"', {"name": "two"}, "two", "one"),
        ("become_user: one", "become_user: two", {"ansible_become_user": "own"}, "own", "own"),
    ],
)
def test_who_runs_what(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    play: str,
    task: str,
    variables: dict[str, str],
    file: str,
    other: str,
) -> None:
    found = users(tmp_path, monkeypatch, play, task, **variables)
    assert found == {"file": {file}, "other": {other}}


def test_a_name_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="is no user's name"):
        users(tmp_path, monkeypatch, task='become_user: "-i {{ 1 }}"')
