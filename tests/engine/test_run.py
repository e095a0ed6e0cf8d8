"""A whole run over several hosts: waves, denial, unreachable hosts, approval, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.engine import run as engine
from runner.engine.events import Event, Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin, UnreachableError
from runner.hosts.errors import SilentError
from runner.inventory.model import Host, Inventory
from runner.kube.state import DrainOptions
from runner.playbook.load import load_playbook
from runner.reports.data import exit_code, report, summary
from tests.engine.local_host import LocalHost

ORIGIN = Origin("hosts.yaml", 1, 1)


class Connection(LocalHost):
    """Stands for the SSH connection of a host; `down` cannot be reached."""

    opened: list[str] = []

    def __init__(self, host: Host, **_: Any) -> None:
        super().__init__()
        self.host = host

    def open(self) -> None:
        if self.host.name == "down":
            raise SilentError("down: connection refused")
        Connection.opened.append(self.host.name)

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    Connection.opened = []


def host(name: str, folder: Path, **variables: Any) -> Host:
    values = {"folder": str(folder / name), **variables}
    (folder / name).mkdir(exist_ok=True)
    return Host(name, "192.0.2.1", ORIGIN, variables=values)


PLAYBOOK = """
- name: one file
  hosts: all
  preconditions:
    - name: allowed
      assert: {that: allowed | default(true), msg: not this one}
  tasks:
    - name: file
      copy: {content: "{{ inventory_hostname }}\\n", dest: "{{ folder }}/file"}
      risk: %s
"""


class Whole:
    """A run over hosts whose folders lie in `folder`."""

    def __init__(self, folder: Path, hosts: Sequence[Host], risk: str = "low") -> None:
        (folder / "playbook.yaml").write_text(PLAYBOOK % risk)
        names = tuple(h.name for h in hosts)
        self.inventory = Inventory(("x",), {h.name: h for h in hosts}, {"all": names})
        self.playbook = load_playbook(folder / "playbook.yaml")
        self.happened: list[Event] = []
        self.stop = Stop()
        self.approves = True

    def run(self, verb: str = "apply") -> list[HostState]:
        run = Run(
            self.playbook,
            self.inventory,
            Settings(run="test"),
            Events([self.happened.append]),
            lambda states: self.approves,
            self.stop,
        )
        states: list[HostState] = getattr(run, verb)()
        return states


def results(states: Sequence[HostState]) -> dict[str, str]:
    return {s.host.name: s.result.status if s.result else "" for s in states}


def test_one_goes_first_then_the_rest(tmp_path: Path) -> None:
    whole = Whole(tmp_path, [host(name, tmp_path) for name in "abc"])
    assert results(whole.run()) == {"a": "changed", "b": "changed", "c": "changed"}
    assert [e.text for e in whole.happened if e.kind == "wave-started"] == ["a", "b, c"]


def test_plan_touches_nothing_and_says_pending(tmp_path: Path) -> None:
    whole = Whole(tmp_path, [host("a", tmp_path)])
    states = whole.run("plan")
    assert not (tmp_path / "a" / "file").exists()
    assert exit_code(summary(states, False), False) == 2


def test_a_refused_host_and_one_that_is_down_do_not_hold_the_others(tmp_path: Path) -> None:
    hosts = [host("a", tmp_path), host("b", tmp_path, allowed=False), host("down", tmp_path)]
    states = Whole(tmp_path, hosts).run()
    assert results(states) == {"a": "changed", "b": "denied", "down": "unreachable"}
    assert exit_code(summary(states, True), True) == 2
    made = report("test", states, True)
    reasons = {h["host"]: h["reason"] for h in made["hosts"]}
    assert "not this one" in reasons["b"]
    assert "connection refused" in reasons["down"]


def test_a_failure_in_the_first_wave_stops_the_rollout(tmp_path: Path) -> None:
    hosts = [host(name, tmp_path) for name in "abc"]
    whole = Whole(tmp_path, hosts)
    original = Connection.change

    def change(self: Connection, blocks: Any) -> Any:
        if self.host.name == "a":
            raise UnreachableError("a: the connection broke")
        return original(self, blocks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "change", change)
        states = whole.run()
    assert results(states) == {"a": "unreachable", "b": "skipped", "c": "skipped"}
    assert not (tmp_path / "b" / "file").exists()


def test_risk_that_is_not_approved_is_denied(tmp_path: Path) -> None:
    whole = Whole(tmp_path, [host("a", tmp_path)], risk="high")
    whole.approves = False
    states = whole.run()
    assert results(states) == {"a": "denied"}
    assert exit_code(summary(states, True), True) == 4


def test_one_connection_per_host(tmp_path: Path) -> None:
    Whole(tmp_path, [host(name, tmp_path) for name in "ab"]).run()
    assert sorted(Connection.opened) == ["a", "b"]


def test_json_names_every_change_with_its_diff(tmp_path: Path) -> None:
    states = Whole(tmp_path, [host("a", tmp_path)]).run("plan")
    (change,) = report("test", states, False)["changes"]
    assert change["host"] == "a"
    assert change["risk"] == "low"
    assert "+a" in change["diff"]


def test_a_defect_of_ours_on_one_host_does_not_end_the_others(tmp_path: Path) -> None:
    whole = Whole(tmp_path, [host(name, tmp_path) for name in "ab"])
    original = Connection.look

    def look(self: Connection, commands: Any) -> Any:
        if self.host.name == "a":
            raise RuntimeError("a defect")
        return original(self, commands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "look", look)
        states = whole.run()
    assert results(states) == {"a": "failed", "b": "changed"}


def test_a_mistake_in_a_template_is_an_error_not_a_denial(tmp_path: Path) -> None:
    playbook = tmp_path / "playbook.yaml"
    playbook.write_text("- hosts: all\n  tasks:\n    - debug: {msg: '{{ nowhere }}'}\n")
    inventory = Inventory(("x",), {"gpu-1": host("gpu-1", tmp_path)}, {"all": ("gpu-1",)})
    run = Run(
        load_playbook(playbook), inventory, Settings("r1"), Events([]), lambda _: True, Stop()
    )
    states = run.apply()
    assert states[0].result is not None
    assert states[0].result.status == "failed"
    assert "playbook.yaml:3:20: variable nowhere is not defined" in states[0].result.reason
    assert exit_code(summary(states, applied=True), applied=True) == 1


def test_a_host_s_own_drain_options_win_over_the_play_s(tmp_path: Path) -> None:
    text = "- hosts: all\n  drain: {force: true, timeout: 60}\n  tasks: [{reboot: {}}]\n"
    (tmp_path / "playbook.yaml").write_text(text)
    own = replace(host("own", tmp_path), drain={"timeout": 5.0, "mode": "none"})
    hosts = {"own": own, "plain": host("plain", tmp_path)}
    run = Run(
        load_playbook(tmp_path / "playbook.yaml"),
        Inventory((), hosts, {"all": tuple(hosts)}),
        Settings("run"),
        Events([]),
        lambda states: True,
        Stop(),
    )
    plans = {state.host.name: state.plan for state in run.plan()}
    assert plans["own"] is not None and plans["plain"] is not None
    assert plans["own"].play.drain == DrainOptions(mode="none", force=True, timeout=5.0)
    assert plans["plain"].play.drain == DrainOptions(force=True, timeout=60.0)


def test_a_play_may_say_what_is_done_with_hosts_that_do_not_answer(tmp_path: Path) -> None:
    power, late = "power_cycle: {command: ['true']}", "stat: {path: /x}"
    for tasks, status in (((power, late), ""), ((late, power), "unreachable")):
        text = "- hosts: all\n  ignore_unreachable: true\n  drain: {mode: none}\n  tasks:\n"
        whole = Whole(tmp_path, [host("down", tmp_path)])
        path = tmp_path / "playbook.yaml"
        path.write_text(text + "".join(f"    - {task}\n" for task in tasks))
        whole.playbook = load_playbook(path)
        states = whole.run("plan")
        assert results(states) == {"down": status}
        (told,) = report("test", states, False)["hosts"]
        assert "down: connection refused" in str(told)
        assert ("make sure that no other run works on it" in str(told)) is (not status)
