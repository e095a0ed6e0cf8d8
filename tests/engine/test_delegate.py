"""`delegate_to` and local connections: done elsewhere, planned and approved here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from runner.engine import host_lock
from runner.engine import run as engine
from runner.engine.events import Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.hosts.connection import Connection as RealConnection
from runner.inventory.load import select
from runner.inventory.model import LOCALHOST, Host, Inventory
from runner.playbook.load import load_playbook
from tests.engine.plays import statuses
from tests.engine.test_run import Connection

ORIGIN = Origin("hosts.yaml", 1, 1)


class Both:
    """A run over hosts a and b; `log` tells on which host something was run."""

    def __init__(self, folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.changed: list[str] = []
        monkeypatch.setattr(engine, "Connection", Connection)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("HOME", str(folder))
        Connection.opened = []
        change = Connection.change

        def noted(host: Connection, blocks: Any) -> Any:
            if [block.key for block in blocks] != [host_lock.KEY]:  # the end of the lock
                self.changed.append(host.host.name)
            return change(host, blocks)

        monkeypatch.setattr(Connection, "change", noted)
        (folder / "playbook.yaml").write_text(text)
        hosts = {
            name: Host(name, "192.0.2.1", ORIGIN, variables={"other": "b"})
            for name in ("a", "b", "down")
        }
        self.inventory = Inventory(("x",), hosts, {"all": tuple(hosts), "helpers": ("b",)})

    def run(self, verb: str = "apply") -> list[HostState]:
        run = Run(
            load_playbook(self.folder / "playbook.yaml"),
            self.inventory,
            Settings(run="test"),
            Events([]),
            lambda states: True,
            Stop(),
        )
        states: list[HostState] = getattr(run, verb)()
        return states


def play(task: str, hosts: str = "a", more: str = "") -> str:
    return f"- name: delegates\n  hosts: {hosts}\n  tasks:\n    - name: made\n      {task}\n{more}"


@pytest.mark.parametrize(
    ("delegate", "loop", "where"),
    [
        ("b", "", "b"),
        ('"{{ other }}"', "", "b"),
        ("\"{{ groups['helpers'][0] }}\"", "", "b"),
        ('"{{ item }}"', "\n      loop: [b]", "b"),
        ("localhost", "", "localhost"),
        ("a", "", "a"),
    ],
)
def test_the_change_is_made_on_the_other_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delegate: str, loop: str, where: str
) -> None:
    task = f"copy: {{content: x, dest: {tmp_path}/x}}\n      delegate_to: {delegate}{loop}"
    both = Both(tmp_path, play(task), monkeypatch)
    (planned,) = both.run("plan")
    assert planned.plan is not None
    assert statuses(planned.plan) == ["change"]
    assert (f"(on {where})" in planned.plan.steps[0].label) == (where != "a")
    assert both.changed == []
    (state,) = both.run()
    assert state.result is not None and state.result.status == "changed", state.result
    assert both.changed == [where]
    (state,) = both.run()
    assert state.result is not None and state.result.status == "ok"


def test_looks_of_hosts_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file on two hosts is two files: here both are one, so only the keys can tell."""
    text = play(f"copy: {{content: x, dest: {tmp_path}/x}}\n      delegate_to: b") + (
        f"    - name: own\n      copy: {{content: x, dest: {tmp_path}/x}}\n"
    )
    both = Both(tmp_path, text, monkeypatch)
    (state,) = both.run("plan")
    assert state.plan is not None
    assert statuses(state.plan) == ["change", "change"], "an overlay of b says nothing of a"


def test_several_hosts_may_ask_the_same_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = f"copy: {{content: x, dest: {tmp_path}/x}}\n      delegate_to: localhost"
    both = Both(
        tmp_path, play(task, "a,b").replace("  tasks", "  serial: 100%\n  tasks"), monkeypatch
    )
    states = both.run()
    assert sorted(s.result.status for s in states if s.result) == ["changed", "ok"]
    assert both.changed == ["localhost"]


def test_results_and_conditions_stay_with_the_plays_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""
- name: delegates
  hosts: a
  tasks:
    - command: {{cmd: echo seen, read_only: true}}
      delegate_to: b
      register: look
    - copy:
        content: "{{{{ look.stdout }}}} for {{{{ inventory_hostname }}}}"
        dest: {tmp_path}/x
      delegate_to: "{{{{ other }}}}"
      notify: after
  handlers:
    - name: after
      shell: echo after >> {tmp_path}/after
      delegate_to: b
"""
    both = Both(tmp_path, text, monkeypatch)
    (state,) = both.run()
    assert state.result is not None and state.result.status == "changed", state.result
    assert (tmp_path / "x").read_text() == "seen for a"
    assert (tmp_path / "after").read_text() == "after\n"
    assert both.changed == ["a", "b", "a"], "mark here, change and handler there, unmark"
    (state,) = both.run()
    assert state.result is not None and state.result.status == "ok"


@pytest.mark.parametrize(
    ("task", "status", "reason"),
    [
        ("shell: echo\n      delegate_to: c", "denied", "there is no host 'c'"),
        ("shell: echo\n      delegate_to: down", "failed", "delegate_to down: down: connection"),
        ("reboot: {}\n      delegate_to: b", "denied", "is not done for other hosts"),
        (
            "shell: echo\n      disruption: gpu\n      delegate_to: b",
            "denied",
            "disruption gpu on another host",
        ),
        (
            "reboot: {}\n      delegate_to: b\n      disruption: none\n      because: a test",
            "denied",
            "is not done for other hosts",
        ),
        (
            'node_label: {labels: {a.b/c: "1"}}\n      delegate_to: b',
            "denied",
            "acts on the host's node",
        ),
    ],
)
def test_what_is_not_delegated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, status: str, reason: str
) -> None:
    both = Both(tmp_path, play(task), monkeypatch)
    (state,) = both.run()
    assert state.result is not None
    assert (state.result.status, reason in state.result.reason) == (status, True), state.result
    assert both.changed == []


def test_a_wait_for_the_other_host_is_waited_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        play(f"copy: {{content: x, dest: {tmp_path}/x}}")
        + f"""
    - name: is there
      wait_for: {{path: {tmp_path}/x}}
      delegate_to: b
"""
    )
    both = Both(tmp_path, text, monkeypatch)
    (state,) = both.run()
    assert state.result is not None and state.result.status == "changed", state.result
    assert "b" in Connection.opened


def test_a_change_there_that_fails_fails_the_plays_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Both(tmp_path, play("shell: exit 3\n      delegate_to: b"), monkeypatch)
    (state,) = both.run()
    assert state.result is not None
    assert state.result.status == "failed"
    assert "made (on b): failed with exit code 3" in state.result.reason


# -- this machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "status"),
    [
        ("shell: echo", "changed"),
        ("reboot: {}", "denied"),
        ("shell: echo\n      disruption: node", "denied"),
    ],
)
def test_this_machine_is_worked_on_but_not_drained_or_rebooted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, status: str
) -> None:
    both = Both(tmp_path, play(task, "localhost"), monkeypatch)
    (state,) = both.run()
    assert state.result is not None
    assert state.result.status == status, state.result
    if status == "denied":
        assert "the machine gpurun runs on" in state.result.reason


def test_localhost_needs_no_inventory_entry() -> None:
    own = Host("localhost", "10.0.0.1", ORIGIN)
    other = Inventory(("x",), {"a": Host("a", "192.0.2.1", ORIGIN)}, {"all": ("a",)})
    named = Inventory(("x",), {"localhost": own}, {"all": ("localhost",)})
    assert select(other, "localhost") == [LOCALHOST]
    assert select(named, "localhost") == [own]


def test_this_machine_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through its own shell, as with SSH."""
    both = Both(
        tmp_path,
        f"""
- name: here
  hosts: localhost
  tasks:
    - name: made
      copy: {{content: "{{{{ facts.kernel.release }}}}", dest: {tmp_path}/x}}
      notify: seen
  handlers:
    - name: seen
      shell: cat {tmp_path}/x > {tmp_path}/y
""",
        monkeypatch,
    )
    monkeypatch.setattr(engine, "Connection", RealConnection)
    (state,) = both.run()
    assert state.result is not None and state.result.status == "changed", state.result
    assert (tmp_path / "y").read_text() == os.uname().release
    (state,) = both.run()
    assert state.result is not None and state.result.status == "ok"
