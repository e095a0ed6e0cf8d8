"""One run at a time takes nodes of a cluster out of service: whole runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.cli.nodes import unlock
from runner.engine import run as engine
from runner.engine.events import Event, Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.inventory.model import Host, Inventory
from runner.kube.lock import RolloutLock
from runner.kube.preview import DrainPreview
from runner.playbook.load import load_playbook
from tests.kube.names import NODE, OTHER, node_name
from tests.kube.objects import pod
from tests.kube.playing import Local
from tests.kube.test_nodes_verbs import call
from tests.kube.world import DEADLINE, World

DISTURBS = """
- hosts: all
  rollout: {{waves: ["100%"]}}
  tasks:
    - command: {{cmd: "touch {{{{ file }}}}", creates: "{{{{ file }}}}"}}
      disruption: {disruption}
"""


class Whole:
    """A run over nodes of a world."""

    def __init__(self, world: World, folder: Path, disruption: str = "gpu", nodes: int = 2) -> None:
        self.world = world
        (folder / "playbook.yaml").write_text(DISTURBS.format(disruption=disruption))
        self.playbook = load_playbook(folder / "playbook.yaml")
        names = [world.node(number)["metadata"]["name"] for number in range(1, nodes + 1)]
        at = Origin("hosts.yaml", 1, 1)
        hosts = {
            name: Host(name, "192.0.2.1", at, variables={"file": str(folder / name)})
            for name in names
        }
        self.inventory = Inventory((), hosts, {"all": tuple(names)})
        self.seen: list[Event] = []

    def run(
        self,
        verb: str = "apply",
        on_event: Callable[[Event], None] = lambda event: None,
        **settings: Any,
    ) -> list[HostState]:
        given = Settings("run-1", kubeconfig=self.world.kubeconfig)
        run = Run(
            self.playbook,
            self.inventory,
            replace(given, **settings),
            Events([self.seen.append, on_event]),
            lambda states: True,
            Stop(),
        )
        states: list[HostState] = getattr(run, verb)()
        return states


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Connection", Local)


@pytest.fixture(autouse=True)
def _leases(world: World) -> None:
    for name in (f"gpurun-{NODE}", f"gpurun-{OTHER}", "gpurun.rollout"):
        world.removes("Lease", name, "kube-system")


def results(states: list[HostState]) -> list[str]:
    return [state.result.status if state.result else "" for state in states]


def lease(world: World) -> dict[str, Any]:
    spec: dict[str, Any] = world.get("Lease", "gpurun.rollout", "kube-system")["spec"]
    return spec


def other(world: World) -> RolloutLock:
    return RolloutLock(world.cluster, "other", "you@there pid 7")


def test_it_is_held_while_nodes_are_worked_on_and_then_released(
    world: World, tmp_path: Path
) -> None:
    held: list[str] = []

    def look(event: Event) -> None:
        if event.kind == "step-done":
            held.append(lease(world)["holderIdentity"])

    assert results(Whole(world, tmp_path).run(on_event=look)) == ["changed", "changed"]
    assert len(held) == 2 and all(" pid " in holder for holder in held)
    assert "holderIdentity" not in lease(world)


def test_a_run_that_disturbs_nobody_needs_none(world: World, tmp_path: Path) -> None:
    with other(world):
        assert results(Whole(world, tmp_path, "service").run()) == ["changed", "changed"]


def test_another_run_s_closes_the_gate_of_plan_and_apply(world: World, tmp_path: Path) -> None:
    whole = Whole(world, tmp_path)
    with other(world):
        for verb in ("plan", "apply"):
            states = whole.run(verb)
            assert results(states) == ["denied", "denied"]
            assert states[0].result is not None
            assert "the rollout on this cluster is locked by you@there pid 7 (run other)" in (
                states[0].result.reason
            )
    assert not any("cordoned" in event.text for event in whole.seen)


def test_of_two_that_begin_together_one_is_denied(world: World, tmp_path: Path) -> None:
    """The gate was open when it was planned."""
    whole = Whole(world, tmp_path)
    late = other(world)

    def begin(event: Event) -> None:
        if event.kind == "host-planned" and event.host == OTHER:
            late.__enter__()

    states = whole.run(on_event=begin, forks=1)
    late.__exit__(None, None, None)
    assert results(states) == ["denied", "denied"]
    assert not (tmp_path / NODE).exists()


def test_it_is_waited_for_as_long_as_asked_and_said(world: World, tmp_path: Path) -> None:
    whole = Whole(world, tmp_path)
    first = other(world)
    first.__enter__()

    def free(event: Event) -> None:
        if "the rollout on this cluster is locked" in event.text:
            first.__exit__(None, None, None)

    states = whole.run(on_event=free, lock_timeout=DEADLINE)
    assert results(states) == ["changed", "changed"]
    assert any(f"waiting {DEADLINE:.0f} s for it" in event.text for event in whole.seen)


def test_two_runs_may_go_side_by_side_where_that_is_asked_for(world: World, tmp_path: Path) -> None:
    with other(world) as held:
        states = Whole(world, tmp_path).run(rollout_lock=False)
        assert results(states) == ["changed", "changed"]
        assert not held.lost.is_set() and lease(world)["holderIdentity"] == "you@there pid 7"


def test_who_loses_it_stops(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[RolloutLock] = []
    entered = RolloutLock.__enter__

    def remembered(lock: RolloutLock) -> RolloutLock:
        made.append(lock)
        return entered(lock)

    def lose(event: Event) -> None:
        if "cordoned" in event.text:
            made[0].lost.set()

    monkeypatch.setattr(RolloutLock, "__enter__", remembered)
    states = Whole(world, tmp_path, nodes=1).run(on_event=lose)
    assert results(states) == ["failed"]
    assert not (tmp_path / NODE).exists()
    assert not world.get("Node", NODE)["spec"].get("unschedulable")


def test_that_of_a_dead_run_is_ended_by_hand(world: World) -> None:
    world.node()
    dead = other(world)
    dead._acquire()
    arguments = (NODE, "--rollout", "--reason", "it died", "--force")
    answer = call(world, unlock, *arguments)
    assert "the rollout on this cluster unlocked; it was held by you@there pid 7" in answer.stdout
    assert "holderIdentity" not in lease(world)


def test_a_wave_is_planned_from_one_list_of_each_kind(world: World, tmp_path: Path) -> None:
    whole = Whole(world, tmp_path, nodes=12)
    for number in range(1, 13):
        for count in range(3):
            item = pod(f"train-{number}-{count}", node=node_name(number), gpus=1)
            world.pod(item)
    states = whole.run("plan")
    asked = world.proxy.asked
    previews = [state.preview for state in states if isinstance(state.preview, DrainPreview)]
    assert [len(preview.evict) for preview in previews] == [3] * 12
    lists = [line for line in asked if line.startswith("GET")]
    assert sorted(lists) == [
        "GET /api/v1/nodes",
        "GET /api/v1/pods",
        "GET /apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
        "GET /apis/policy/v1/poddisruptionbudgets",
    ]
    # All pods have one owner: one question about them.
    assert len(asked) == len(lists) + 1
