"""The playbooks `time-slicing` and `time-slicing-off` on simulated GPUs."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from runner.kube.cluster import Cluster
from tests.kube.names import NODE, NS
from tests.kube.playbooks.stage import Stage


def test_on_then_nothing_then_fewer_then_off(stage: Stage) -> None:
    ended, told = stage.run("time-slicing.yaml")
    assert ended == {"changed"}, told
    assert stage.offers() == ["8", "8"]
    assert told.count(f"ConfigMap {NS}/nvidia-device-plugin-config applied") == 1

    assert stage.run("time-slicing.yaml")[0] == {"ok"}

    ended, told = stage.run("time-slicing.yaml", replicas="3")
    assert ended == {"changed"}, told
    assert stage.offers() == ["6", "6"]

    ended, told = stage.run("time-slicing-off.yaml")
    assert ended == {"changed", "ok"}, told  # its second play is for named configurations
    assert stage.offers() == ["2", "2"]
    assert stage.run("time-slicing-off.yaml")[0] == {"ok"}


def test_a_pod_that_started_before_the_configuration_came_counts_as_old(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that came back from a drain just before."""
    asked: list[tuple[str, datetime]] = []
    perform = Cluster.perform

    def noted(self: Cluster, node: str, action: Any, **more: Any) -> Any:
        asked.append((type(action).__name__, more["since"]))
        return perform(self, node, action, **more)

    monkeypatch.setattr(Cluster, "perform", noted)
    ended, told = stage.run("time-slicing.yaml", only=NODE)
    assert ended == {"changed"}, told
    (first, begun), (second, changed), (third, restarted) = asked[:3]
    assert (first, second, third) == ("ApplyObject", "ApplyObject", "RestartDaemonSetPod")
    assert begun < changed == restarted


def test_a_node_that_comes_later_is_caught_up(stage: Stage) -> None:
    stage.run("time-slicing.yaml")
    stage.run("time-slicing.yaml", only=NODE, replicas="2")
    assert stage.offers() == ["4", "8"]
    ended, told = stage.run("time-slicing.yaml", replicas="2")
    assert ended == {"ok", "changed"}, told
    assert stage.offers() == ["4", "4"]


def test_fewer_slices_than_are_in_use_are_warned_of(stage: Stage) -> None:
    stage.run("time-slicing.yaml")
    for number in range(6):
        stage.pod(f"p{number}", gpus=1)
    _, told = stage.run("time-slicing.yaml", only=NODE, replicas="2")
    assert re.search("pods of this node use 6 slices, and it will offer 4", told), told
    assert stage.offers() == ["4", "8"]


def test_one_replica_is_refused_before_anything_is_done(stage: Stage) -> None:
    ended, _ = stage.run("time-slicing.yaml", replicas="1")
    assert ended == {"denied"}
    assert not stage.world.has("ConfigMap", "nvidia-device-plugin-config")
