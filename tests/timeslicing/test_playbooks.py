"""The playbooks `time-slicing` and `time-slicing-off` on simulated GPUs in the lab's cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.engine import run as engine
from runner.engine.events import Event, Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.hosts.script import Command, Result
from runner.inventory.model import Host, Inventory
from runner.kube import actions, waiting
from runner.lab.kube import gpus
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.nodes import SimulatedNode
from runner.playbook.load import load_playbook
from tests.engine.local_host import LocalHost
from tests.mig.simulated import SimulatedHost

PLAYBOOKS = Path(__file__).parent.parent.parent / "playbooks"
ORIGIN = Origin("hosts.yaml", 1, 1)


class World:
    """Nodes of two GPUs each, their cluster, and runs on them."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.hosts = {name: SimulatedHost(folder / name, "A100-40", 2) for name in names}
        nodes = [
            SimulatedNode(name, root=str(host.root), model="A100-40", count=2)
            for name, host in self.hosts.items()
        ]
        self.lab = LabCluster(nodes, workloads=True)

    def run(self, playbook: str, only: str | None = None, **extra: Any) -> tuple[set[str], str]:
        """The hosts' ends and everything that was told."""
        told: list[Event] = []
        variables = {"kubeconfig": str(self.lab.kubeconfig)}
        hosts = {name: Host(name, "192.0.2.1", ORIGIN, variables=variables) for name in self.hosts}
        run = Run(
            load_playbook(PLAYBOOKS / playbook),
            Inventory(("x",), hosts, {"all": tuple(hosts), "gpu": tuple(hosts)}),
            Settings(run="run-1", limit=only, extra=extra),
            Events([told.append]),
            lambda states: True,
            Stop(),
        )
        states: list[HostState] = run.apply()
        self.lab.settle()
        text = "\n".join(f"{e.kind} {e.text} {e.data.get('reason', '')}" for e in told)
        return {s.result.status for s in states if s.result}, text

    def offers(self, node: str) -> str:
        item = self.lab.get("Node", node)
        assert item
        return str(item["status"]["allocatable"]["nvidia.com/gpu"])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path, ("gpu1", "gpu2"))

    class Connection(LocalHost):
        """The simulated host behind the engine's connection."""

        def __init__(self, host: Host, **_: Any) -> None:
            super().__init__()
            self.simulated = world.hosts[host.name]

        def open(self) -> None: ...
        def close(self) -> None: ...

        def look(self, commands: Sequence[Command]) -> dict[str, Result]:
            return {command.key: self.simulated.sh(command.shell) for command in commands}

    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setattr(waiting, "POLL", 0.01)
    monkeypatch.setattr(actions, "APART", 0.05)
    monkeypatch.setenv("HOME", str(tmp_path))
    with world.lab as lab:
        lab.settle()
        yield world


def test_on_then_nothing_then_fewer_then_off(world: World) -> None:
    ended, told = world.run("time-slicing.yaml")
    assert ended == {"changed"}, told
    assert [world.offers(node) for node in world.hosts] == ["8", "8"]
    assert told.count("ConfigMap kube-system/nvidia-device-plugin-config applied") == 1

    assert world.run("time-slicing.yaml")[0] == {"ok"}

    ended, told = world.run("time-slicing.yaml", replicas="3")
    assert ended == {"changed"}, told
    assert [world.offers(node) for node in world.hosts] == ["6", "6"]

    ended, told = world.run("time-slicing-off.yaml")
    assert ended == {"changed"}, told
    assert [world.offers(node) for node in world.hosts] == ["2", "2"]
    assert world.run("time-slicing-off.yaml")[0] == {"ok"}


def test_a_node_that_comes_later_is_caught_up(world: World) -> None:
    world.run("time-slicing.yaml")
    world.run("time-slicing.yaml", only="gpu1", replicas="2")
    assert [world.offers(node) for node in world.hosts] == ["4", "8"]
    ended, told = world.run("time-slicing.yaml", replicas="2")
    assert ended == {"ok", "changed"}, told
    assert [world.offers(node) for node in world.hosts] == ["4", "4"]


def test_one_replica_is_refused_before_anything_is_done(world: World) -> None:
    ended, _ = world.run("time-slicing.yaml", replicas="1")
    assert ended == {"denied"}
    assert world.lab.get("ConfigMap", "nvidia-device-plugin-config", "kube-system") is None


SLICED = """\
version: v1
sharing:
  timeSlicing:
    renameByDefault: %s
    resources: [{name: nvidia.com/gpu, replicas: %s}]
"""


@pytest.mark.parametrize(
    ("config", "offered"),
    [
        ("version: v1\n", {"nvidia.com/gpu": 2}),
        (SLICED % ("false", 4), {"nvidia.com/gpu": 8}),
        (SLICED % ("true", 4), {"nvidia.com/gpu.shared": 8}),
    ],
)
def test_what_the_labs_plugin_offers(config: str, offered: dict[str, int]) -> None:
    assert gpus.shared({"nvidia.com/gpu": 2}, config) == offered


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("version: v2\n", "unknown version: v2"),
        (SLICED % ("false", 1), "number of replicas must be >= 2"),
        ("version: v1\nsharing: {timeSlicing: {resources: []}}\n", "no resources specified"),
    ],
)
def test_what_the_labs_plugin_refuses(config: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gpus.shared({"nvidia.com/gpu": 2}, config)
