"""What others do to a node while it is drained."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
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
from tests.kube.names import NODE, NS
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World


def run(world: World, progress: Callable[[str], None]) -> None:
    guard = partial(check_cordoned, world.cluster, NODE)
    options = DrainOptions(timeout=DEADLINE)
    drain(Snapshot(world.cluster), NODE, options, "full", progress, world.stop, guard=guard)


@pytest.fixture
def node(world: World) -> World:
    """A cordoned node with one pod of ReplicaSet web that goes at once."""
    world.node()
    world.pod(pod("a-0", grace=0))
    begin(world.cluster, NODE, "run-1")
    return world


def replacing(world: World, placed: list[str]) -> Callable[[str], None]:
    """A progress callback that puts a new pod of web on the node for each that is evicted."""
    numbers = count(1)

    def progress(said: str) -> None:
        world.progress(said)
        if said.startswith(f"evicting {NS}/a-"):
            placed.append(f"a-{next(numbers)}")
            world.pod(pod(placed[-1], grace=0))

    return progress


def test_pods_that_come_to_a_node_somebody_uncordoned_are_left_alone(node: World) -> None:
    def uncordoned(said: str) -> None:
        node.progress(said)
        if said.startswith("evicting"):
            node.cordon(cordoned=False)
            node.pod(pod("b"))

    with pytest.raises(ClusterError, match="uncordoned by somebody else while it was drained"):
        run(node, uncordoned)
    assert node.has("Pod", "b")
    assert "deletionTimestamp" not in node.get("Pod", "b")["metadata"]


def test_pods_that_tolerate_the_cordon_are_not_evicted_for_ever(node: World) -> None:
    placed: list[str] = []
    with pytest.raises(ClusterError, match=rf"pods of \w+ {NS}/web come back") as caught:
        run(node, replacing(node, placed))
    assert "pod_selector" in caught.value.hint
    assert len(placed) == RETURNS + 2  # it had one
    assert node.has("Pod", placed[-1])


def test_a_node_that_is_gone_has_nothing_to_be_restored(node: World) -> None:
    node.delete("Node", NODE)
    resume_daemonsets(node.cluster, NODE, "run-1", node.progress, threading.Event())
    assert end(node.cluster, NODE, "run-1") == f"node {NODE} is no longer in the cluster"


def test_a_plan_says_which_pods_are_already_terminating_and_what_holds_them(world: World) -> None:
    """They are waited for, not evicted: their budgets are not asked."""
    world.node()
    world.budget(minAvailable=1)
    item = pod("a", labels={"app": "web"})
    item["metadata"]["finalizers"] = ["example.com/keep"]
    world.pod(item)
    world.delete("Pod", "a", grace=1)

    def waits() -> tuple[str, ...]:
        snapshot = Snapshot(world.cluster, [NODE])
        return tuple(preview(snapshot, snapshot.nodes()[NODE], DrainOptions(), "full").waits)

    world.until(lambda: "past its grace period" in waits()[0], "the grace period is over")
    (text,) = waits()
    assert re.fullmatch(
        rf"{NS}/a is already terminating, \d+ s past its grace period, held by example.com/keep",
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
