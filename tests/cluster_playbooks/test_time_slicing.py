"""The playbooks `time-slicing` and `time-slicing-off` on simulated GPUs in the lab's cluster."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from runner.kube.cluster import Cluster
from runner.lab.kube import gpus
from tests.cluster_playbooks.world import World


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
    assert ended == {"changed", "ok"}, told  # its second play is for named configurations
    assert [world.offers(node) for node in world.hosts] == ["2", "2"]
    assert world.run("time-slicing-off.yaml")[0] == {"ok"}


def test_a_pod_that_started_before_the_configuration_came_counts_as_old(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that came back from a drain just before."""
    asked: list[tuple[str, datetime]] = []
    perform = Cluster.perform

    def noted(self: Cluster, node: str, action: Any, **more: Any) -> Any:
        asked.append((type(action).__name__, more["since"]))
        return perform(self, node, action, **more)

    monkeypatch.setattr(Cluster, "perform", noted)
    ended, told = world.run("time-slicing.yaml", only="gpu1")
    assert ended == {"changed"}, told
    (first, begun), (second, changed), (third, restarted) = asked[:3]
    assert (first, second, third) == ("ApplyObject", "ApplyObject", "RestartDaemonSetPod")
    assert begun < changed == restarted


def test_a_node_that_comes_later_is_caught_up(world: World) -> None:
    world.run("time-slicing.yaml")
    world.run("time-slicing.yaml", only="gpu1", replicas="2")
    assert [world.offers(node) for node in world.hosts] == ["4", "8"]
    ended, told = world.run("time-slicing.yaml", replicas="2")
    assert ended == {"ok", "changed"}, told
    assert [world.offers(node) for node in world.hosts] == ["4", "4"]


def test_fewer_slices_than_are_in_use_are_warned_of(world: World) -> None:
    world.run("time-slicing.yaml")
    for number in range(6):
        limits = {"limits": {"nvidia.com/gpu": "1"}}
        spec = {
            "containers": [{"name": "c", "image": "x", "resources": limits}],
            "nodeName": "gpu1",
        }
        world.lab.create({"kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": spec})
    world.lab.settle()
    _, told = world.run("time-slicing.yaml", only="gpu1", replicas="2")
    assert re.search("pods of this node use [678] slices, and it will offer 4", told), told
    assert [world.offers(node) for node in world.hosts] == ["4", "8"]


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
