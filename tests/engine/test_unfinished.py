"""Promises 4 and 5: what an earlier run left is seen, and what cannot be seen is not fine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.engine import run as engine
from runner.engine.batches import blocks
from runner.engine.clusters import Clusters
from runner.engine.events import Events
from runner.engine.maintenance import Maintenance
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.stop import Stop
from runner.errors import ClusterError, Origin
from runner.inventory.model import Host, Inventory
from runner.kube.maintenance import RUN
from runner.kube.state import NodeState
from runner.modules.base import Unknown
from runner.playbook.load import load_playbook
from runner.reports.data import report
from tests.engine.plays import OneHost, statuses
from tests.engine.test_run import Connection

NOTHING_TO_DO = "- name: x\n  hosts: all\n  tasks:\n    - debug: {msg: nothing}\n"
NOT_READY = NOTHING_TO_DO + "  preconditions:\n    - assert: {that: false, msg: not ready}\n"


def nothing_to_do(
    folder: Path,
    node: Any,
    monkeypatch: pytest.MonkeyPatch,
    playbook: str = NOTHING_TO_DO,
    **settings: Any,
) -> Run:
    """A run with one host, for which nothing is to do, while the cluster says `node` of it."""
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setattr(Clusters, "node", lambda self, host: node)
    (folder / "playbook.yaml").write_text(playbook)
    host = Host("a", "192.0.2.1", Origin("hosts.yaml", 1, 1))
    return Run(
        load_playbook(folder / "playbook.yaml"),
        Inventory(("x",), {"a": host}, {"all": ("a",)}),
        Settings(run="mine", **settings),
        Events([]),
        lambda states: True,
        Stop(),
    )


def ended(folder: Path, node: Any, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> str:
    """How that host ends."""
    (state,) = nothing_to_do(folder, node, monkeypatch, **settings).apply()
    assert state.result is not None
    return f"{state.result.status}: {state.result.reason}"


def test_a_node_that_an_unfinished_run_holds_is_not_reported_as_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = NodeState("a", unschedulable=True, annotations={RUN: "other"})
    assert "denied: run other has not finished" in ended(tmp_path, node, monkeypatch)


def test_a_resumed_run_that_cannot_read_the_node_does_not_say_that_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Unknown("the API server is silent")
    assert ended(tmp_path, silent, monkeypatch, resumed=True).startswith("unknown: whether")
    assert ended(tmp_path, silent, monkeypatch).startswith("ok")


def test_a_successor_that_cannot_read_the_node_does_not_say_that_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Unknown("the API server is silent")
    told = ended(tmp_path, silent, monkeypatch, predecessor="other", heirs=frozenset("a"))
    assert told.startswith("unknown: whether run other still holds the node")


@pytest.mark.parametrize("holder", ["other", "third"])
def test_a_dry_run_shows_a_node_that_would_be_taken_over_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    node = NodeState("a", unschedulable=True, annotations={RUN: holder})
    run = nothing_to_do(tmp_path, node, monkeypatch, predecessor="other", heirs=frozenset("a"))
    told = report("mine", run.plan(), applied=False)
    (host,) = told["hosts"]
    said = "the node is taken over from run other, and given back at the end"
    shown = (host["status"], said in host["messages"])
    assert shown == (("pending", True) if holder == "other" else ("denied", False))


def test_what_a_resumed_run_gives_back_is_in_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = NodeState("a", unschedulable=True, annotations={RUN: "mine"})
    run = nothing_to_do(tmp_path, node, monkeypatch, resumed=True)
    (host,) = report("mine", run.plan(), applied=False)["hosts"]
    said = "this run has left the node out of service before; it is given back at the end"
    assert (host["status"], host["messages"][0]) == ("pending", said)


@pytest.mark.parametrize(
    ("holder", "settings", "left"),
    [
        ("mine", {"resumed": True}, "still cordoned by run mine: gpurun resume mine"),
        (
            "other",
            {"predecessor": "other", "heirs": frozenset("a")},
            "still cordoned by run other: gpurun resume other",
        ),
        ("third", {"predecessor": "other", "heirs": frozenset("a")}, ""),
    ],
)
def test_a_node_that_cannot_be_gone_on_with_is_named_with_the_run_that_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str, settings: Any, left: str
) -> None:
    node = NodeState("a", unschedulable=True, annotations={RUN: holder})
    (state,) = nothing_to_do(tmp_path, node, monkeypatch, NOT_READY, **settings).apply()
    assert state.result is not None
    assert (state.result.status, state.result.left) == ("denied", left)


@pytest.mark.parametrize("become", [True, False])
def test_marks_of_owed_handlers_lie_where_the_play_looks_for_them(
    tmp_path: Path, become: bool
) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: both privileges {tmp_path}
  hosts: all
  become: {str(become).lower()}
  tasks:
    - name: file
      become: {str(not become).lower()}
      copy: {{content: x, dest: {tmp_path}/file}}
      notify: after
  handlers:
    - name: after
      become: {str(not become).lower()}
      shell: echo ran
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "change"]
    commands = [c for step in plan.steps for b in blocks(plan.play, step) for c in b.do]
    marks = [c for c in commands if c.key.endswith("mark")]
    assert [command.become for command in marks] == [become, become]
    assert {c.become for c in commands if c not in marks} == {not become}


def test_a_node_whose_labels_were_changed_counts_as_touched(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        """
- name: labels, then no proof
  hosts: all
  tasks:
    - name: label
      node_label: {labels: {example.com/x: "1"}}
  verify:
    - name: proof
      assert: {that: false, msg: it does not work}
""",
    )
    one.node = NodeState("gpu-1")

    class Cluster(Maintenance):
        given_back = False

        def perform(self, action: Any, since: Any) -> dict[str, Any]:
            return {}

        def leave(self) -> str:
            self.given_back = True
            return ""

        def left(self) -> str:
            return "still cordoned"

    cluster = Cluster()
    result = one.apply(node=cluster)
    assert (result.status, result.left) == ("failed", "still cordoned")
    assert not cluster.given_back


def test_a_node_that_another_run_took_meanwhile_is_left_alone(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: late
  hosts: all
  tasks:
    - name: file
      copy: {{content: x, dest: {tmp_path}/file}}
""",
    )

    class Taken(Maintenance):
        def enter(self, plan: Any) -> None:
            raise ClusterError("run other has not finished with node gpu-1")

    assert one.apply(node=Taken()).status == "failed"
    assert not (tmp_path / "file").exists()


def test_a_host_that_one_play_denied_is_left_out_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setattr(Clusters, "node", lambda self, host: None)
    (tmp_path / "playbook.yaml").write_text(
        f"""
- name: first
  hosts: all
  preconditions:
    - assert: {{that: inventory_hostname == "a", msg: not this one}}
  tasks:
    - copy: {{content: x, dest: "{tmp_path}/first-{{{{ inventory_hostname }}}}"}}
- name: second
  hosts: all
  tasks:
    - copy: {{content: x, dest: "{tmp_path}/second-{{{{ inventory_hostname }}}}"}}
"""
    )
    names = ("a", "b")
    hosts = {name: Host(name, "192.0.2.1", Origin("hosts.yaml", 1, 1)) for name in names}
    run = Run(
        load_playbook(tmp_path / "playbook.yaml"),
        Inventory(("x",), hosts, {"all": names}),
        Settings(run="mine"),
        Events([]),
        lambda states: True,
        Stop(),
    )
    ends = [(s.play.name, s.host.name, s.result.status) for s in run.apply() if s.result]
    assert ends == [("first", "a", "changed"), ("first", "b", "denied"), ("second", "a", "changed")]
    assert not (tmp_path / "second-b").exists()
