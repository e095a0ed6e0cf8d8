"""What others do to a node while it is drained."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest

from runner.errors import ClusterError
from runner.kube import drain as drains
from runner.kube.drain import RETURNS, drain
from runner.kube.maintenance import begin, check_cordoned, end, resume_daemonsets
from runner.kube.preview import preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions
from runner.kube.waiting import StoppedError
from runner.lab.kube.kinds import KIND
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World


def run(world: World, progress: Callable[[str], None]) -> None:
    guard = partial(check_cordoned, world.cluster, "gpu-1")
    options = DrainOptions(timeout=DEADLINE)
    drain(Snapshot(world.cluster), "gpu-1", options, "full", progress, world.stop, guard=guard)


@pytest.fixture
def node(world: World) -> World:
    """A cordoned node with one pod of ReplicaSet web that goes at once."""
    world.node()
    world.pod(pod("a-0", grace=0))
    begin(world.cluster, "gpu-1", "run-1")
    return world


def replacing(world: World, placed: list[str]) -> Callable[[str], None]:
    """A progress callback that puts a new pod of web on the node for each that is evicted."""
    numbers = count(1)

    def progress(said: str) -> None:
        world.progress(said)
        if said.startswith("evicting default/a-"):
            placed.append(f"a-{next(numbers)}")
            world.pod(pod(placed[-1], grace=0))

    return progress


def test_pods_that_come_to_a_node_somebody_uncordoned_are_left_alone(node: World) -> None:
    def uncordoned(said: str) -> None:
        node.progress(said)
        if said.startswith("evicting"):
            node.change("Node", "gpu-1", spec={"unschedulable": False})
            node.pod(pod("b"))

    with pytest.raises(ClusterError, match="uncordoned by somebody else while it was drained"):
        run(node, uncordoned)
    assert node.has("Pod", "b", "default")
    assert "deletionTimestamp" not in node.get("Pod", "b", "default")["metadata"]


def test_pods_that_tolerate_the_cordon_are_not_evicted_for_ever(node: World) -> None:
    placed: list[str] = []
    with pytest.raises(ClusterError, match="pods of ReplicaSet default/web come back") as caught:
        run(node, replacing(node, placed))
    assert "pod_selector" in caught.value.hint
    assert len(placed) == RETURNS + 2  # it had one
    assert node.has("Pod", placed[-1], "default")


def test_a_node_that_is_gone_has_nothing_to_be_restored(node: World) -> None:
    with node.store.lock:
        node.store.remove(KIND["Node"], node.get("Node", "gpu-1"))
    resume_daemonsets(node.cluster, "gpu-1", "run-1", node.progress, threading.Event())
    assert end(node.cluster, "gpu-1", "run-1") == "node gpu-1 is no longer in the cluster"


def test_a_plan_says_which_pods_are_already_terminating_and_what_holds_them(world: World) -> None:
    """They are waited for, not evicted: their budgets are not asked."""
    world.node()
    world.budget(minAvailable=1)
    item = pod("a", labels={"app": "web"})
    ended = datetime.now(UTC) - timedelta(seconds=90)
    item["metadata"] |= {
        "deletionTimestamp": ended.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "finalizers": ["example.com/keep"],
    }
    world.pod(item)
    snapshot = Snapshot(world.cluster, ["gpu-1"])
    found = preview(snapshot, snapshot.nodes()["gpu-1"], DrainOptions(), "full")
    (text,) = found.waits
    assert re.fullmatch(
        r"default/a is already terminating, 9\d s past its grace period, held by example.com/keep",
        text,
    )


def test_whoever_waits_is_told_how_it_goes_on(node: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drains, "REMIND", 0.0)
    node.budget(minAvailable=1)
    node.pod(pod("guarded", labels={"app": "web"}))

    def stop(said: str) -> None:
        node.progress(said)
        if "Ctrl-C" in said:
            node.stop.set()

    with pytest.raises(StoppedError):
        run(node, stop)
    (told,) = [text for text in node.said if "Ctrl-C" in text]
    assert "a budget lets pods go once enough others of theirs are Ready elsewhere" in told
