"""An object of the cluster in a play of several hosts: shown by all, applied by the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.engine import run as engine
from runner.engine.events import Event, Events
from runner.engine.pending import handler_mark
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.inventory.model import Host, Inventory
from runner.lab.kube.cluster import LabCluster
from runner.playbook.load import load_playbook
from tests.engine.local_host import LocalHost

ORIGIN = Origin("hosts.yaml", 1, 1)
HOSTS = ("gpu1", "gpu2")
PLAYBOOK = """
- name: one object
  hosts: all
  become: false
  tasks:
    - name: configuration
      kubernetes_object:
        definition:
          apiVersion: v1
          kind: ConfigMap
          metadata: {name: shared, namespace: kube-system}
          data:
            replicas: "{{ replicas }}"
      notify: told
  handlers:
    - name: told
      node_label: {labels: {example.com/replicas: "{{ replicas }}"}}
  rollout: {waves: ["100%"]}
"""


class Connection(LocalHost):
    """Stands for the SSH connection of a host; remembers what the host was made to do."""

    shells: tuple[str, ...] = ()

    def __init__(self, host: Host, **_: Any) -> None:
        super().__init__()

    def open(self) -> None: ...
    def close(self) -> None: ...

    def change(self, blocks: Any) -> Any:
        Connection.shells += tuple(c.shell for block in blocks for c in block.do)
        return super().change(blocks)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LabCluster]:
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Connection, "shells", ())
    with LabCluster(nodes=list(HOSTS)) as lab:
        yield lab


def run(lab: LabCluster, folder: Path, verb: str, replicas: int) -> tuple[list[HostState], str]:
    """The states of a run and everything it told."""
    return ran(
        PLAYBOOK, folder, verb, {"kubeconfig": str(lab.kubeconfig), "replicas": str(replicas)}
    )


def ran(
    text: str, folder: Path, verb: str, variables: dict[str, str]
) -> tuple[list[HostState], str]:
    (folder / "playbook.yaml").write_text(text)
    hosts = {name: Host(name, "192.0.2.1", ORIGIN, variables=variables) for name in HOSTS}
    told: list[Event] = []
    whole = Run(
        load_playbook(folder / "playbook.yaml"),
        Inventory(("x",), hosts, {"all": HOSTS}),
        Settings(run=f"run-{verb}"),
        Events([told.append]),
        lambda states: True,
        Stop(),
    )
    states: list[HostState] = getattr(whole, verb)()
    return states, "\n".join(event.text for event in told)


def test_planned_for_every_host_and_applied_once(lab: LabCluster, tmp_path: Path) -> None:
    planned, _ = run(lab, tmp_path, "plan", 4)
    for state in planned:
        assert state.plan is not None
        assert [step.label for step in state.plan.pending] == ["configuration", "told"]
    assert lab.get("ConfigMap", "shared", "kube-system") is None

    applied, told = run(lab, tmp_path, "apply", 4)
    assert {s.result.status for s in applied if s.result} == {"changed"}, told
    assert told.count("ConfigMap kube-system/shared applied") == 1
    assert told.count("ConfigMap kube-system/shared is as wanted already") == 1
    live = lab.get("ConfigMap", "shared", "kube-system")
    assert live and live["data"] == {"replicas": "4"}

    again, _ = run(lab, tmp_path, "apply", 4)
    assert {s.result.status for s in again if s.result} == {"ok"}


def test_the_handler_is_marked_on_every_host_before_and_unmarked_after(
    lab: LabCluster, tmp_path: Path
) -> None:
    """A run that is killed in between must not lose what the change calls for."""
    (state, _), _ = run(lab, tmp_path, "apply", 2)
    name = handler_mark(state.play, "told")
    marks = ["touch" in shell for shell in Connection.shells if name in shell]
    assert sorted(marks) == [False, False, True, True]


WHERE_THERE_IS_ONE = PLAYBOOK.replace("      notify: told", "      when: kubernetes_configured")


def test_hosts_without_a_cluster_leave_out_what_is_of_the_cluster(
    lab: LabCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    bare, _ = ran(WHERE_THERE_IS_ONE, tmp_path, "apply", {"replicas": "4"})
    assert {s.result.status for s in bare if s.result} == {"ok"}
    assert lab.get("ConfigMap", "shared", "kube-system") is None

    monkeypatch.setenv("KUBECONFIG", str(lab.kubeconfig))
    configured, _ = ran(WHERE_THERE_IS_ONE, tmp_path, "apply", {"replicas": "4"})
    assert {s.result.status for s in configured if s.result} == {"changed"}
