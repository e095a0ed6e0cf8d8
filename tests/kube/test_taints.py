"""The taint of a node while it is out of service: set with the cordon, and only ours removed."""

from __future__ import annotations

from typing import Any

import pytest

from runner.engine.unlocking import left_behind
from runner.errors import ClusterError
from runner.kube import maintenance, taints
from runner.kube.maintenance import begin, end, inherit, keep_cordoned
from runner.kube.parse import parse_node
from runner.kube.preview import DrainPreview, preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions
from tests.kube.names import NODE, NS
from tests.kube.world import World

REPAIR = "example.com/repair=yes:NoSchedule"
OURS = {"key": "example.com/repair", "value": "yes", "effect": "NoSchedule"}
THEIRS = {"key": "example.com/theirs", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
PREFER = REPAIR.replace("NoSchedule", "PreferNoSchedule")


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node()
    retaint(world, THEIRS)


def tainted(world: World) -> list[dict[str, Any]]:
    """The node's taints but those that the node controller sets by itself."""
    found = world.get("Node", NODE)["spec"].get("taints") or ()
    return [taint for taint in found if not taint["key"].startswith("node.kubernetes.io/")]


def marks(world: World) -> dict[str, str]:
    """gpurun's annotations of the node, among those of others."""
    found = world.get("Node", NODE)["metadata"].get("annotations") or {}
    return {key: text for key, text in found.items() if key.startswith("gpurun.dev/")}


def retaint(world: World, *all_of_them: dict[str, Any]) -> None:
    """Write the whole list, once the node controller, which writes it whole too, is done."""

    def marked() -> bool:
        spec = world.get("Node", NODE)["spec"]
        keys = {taint["key"] for taint in spec.get("taints") or ()}
        return ("node.kubernetes.io/unschedulable" in keys) == bool(spec.get("unschedulable"))

    world.until(marked, "the taint of a cordoned node is as its spec says")
    world.change("Node", NODE, spec={"taints": list(all_of_them)})


class TestSetAndRemoved:
    def test_in_the_patch_of_the_cordon_beside_those_of_others(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        assert len(world.written) == 1
        assert tainted(world) == [THEIRS, OURS]
        assert world.get("Node", NODE)["spec"]["unschedulable"]

    def test_given_back_the_node_is_as_it_was(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        assert end(world.cluster, NODE, "run-1") == f"node {NODE} uncordoned"
        assert len(world.written) == 2
        assert tainted(world) == [THEIRS] and marks(world) == {}

    def test_no_taint_is_touched_where_none_is_wanted(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1")
        assert tainted(world) == [THEIRS] and taints.TAINTED not in marks(world)

    def test_one_that_is_there_already_is_not_ours(self, world: World) -> None:
        theirs = {**OURS, "value": "no"}
        retaint(world, theirs)
        begin(world.cluster, NODE, "run-1", REPAIR)
        assert tainted(world) == [theirs]
        end(world.cluster, NODE, "run-1")
        assert tainted(world) == [theirs]

    def test_what_somebody_made_of_it_meanwhile_is_theirs(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        theirs = {**OURS, "value": "burnt"}
        retaint(world, theirs)
        end(world.cluster, NODE, "run-1")
        assert tainted(world) == [theirs] and marks(world) == {}

    def test_a_node_that_stays_cordoned_loses_it_all_the_same(self, world: World) -> None:
        world.cordon()
        begin(world.cluster, NODE, "run-1", REPAIR)
        assert tainted(world) == [THEIRS, OURS]
        end(world.cluster, NODE, "run-1")
        assert tainted(world) == [THEIRS]
        assert world.get("Node", NODE)["spec"]["unschedulable"]

    def test_nor_does_it_outlast_the_run_that_keeps_the_node(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        keep_cordoned(world.cluster, NODE, "case 4711")
        end(world.cluster, NODE, "run-1")
        assert tainted(world) == [THEIRS]
        assert marks(world) == {maintenance.CORDON_REASON: "case 4711"}


class TestARunThatGoesOn:
    def test_it_knows_its_taint_again(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        begin(world.cluster, NODE, "run-1", REPAIR)
        assert tainted(world) == [THEIRS, OURS]
        end(world.cluster, NODE, "run-1")
        assert tainted(world) == [THEIRS]

    def test_one_that_was_taken_away_is_not_set_again(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        retaint(world)
        begin(world.cluster, NODE, "run-1", REPAIR)
        assert tainted(world) == []

    def test_another_run_leaves_it_until_it_has_taken_the_node_over(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        end(world.cluster, NODE, "run-2")
        assert OURS in tainted(world)
        inherit(world.cluster, NODE, "run-1", "run-2")
        end(world.cluster, NODE, "run-2")
        assert tainted(world) == [THEIRS] and marks(world) == {}

    def test_what_a_dead_run_left_is_told(self, world: World) -> None:
        begin(world.cluster, NODE, "run-1", REPAIR)
        told = list(left_behind(parse_node(world.get("Node", NODE))))
        assert f"node {NODE}: run run-1 tainted it with {REPAIR}: gpurun resume run-1" in told

    def test_an_annotation_that_cannot_be_read_is_told(self, world: World) -> None:
        world.change("Node", NODE, metadata={"annotations": {taints.TAINTED: "[]"}})
        with pytest.raises(ClusterError, match=f"{taints.TAINTED} cannot be read"):
            end(world.cluster, NODE, "run-1")


def look(world: World, taint: str) -> DrainPreview:
    snapshot = Snapshot(world.cluster, [NODE])
    return preview(snapshot, snapshot.nodes()[NODE], DrainOptions(taint=taint), "full")


class TestThePlan:
    def test_says_what_is_set(self, world: World) -> None:
        found = look(world, REPAIR)
        assert found.taint == f"taints the node with {REPAIR} until it is given back"
        assert not found.blocked and look(world, "").taint == ""

    def test_says_what_is_there_already(self, world: World) -> None:
        retaint(world, {**OURS, "value": "no"})
        kept = "the node has the taint example.com/repair=no:NoSchedule already"
        assert look(world, REPAIR).taint == kept

    @pytest.mark.parametrize(
        ("toleration", "kept_off"),
        [
            ({"operator": "Exists"}, False),
            ({"key": "example.com/repair", "operator": "Exists"}, False),
            ({"key": "example.com/repair", "value": "yes", "effect": "NoSchedule"}, False),
            ({"key": "example.com/repair", "value": "no"}, True),
            ({"key": "example.com/repair", "operator": "Exists", "effect": "NoExecute"}, True),
            ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ],
    )
    def test_no_daemonset_may_be_kept_off_its_node(
        self, world: World, toleration: dict[str, str], kept_off: bool
    ) -> None:
        retaint(world)
        world.daemonset("plugin", tolerations=[toleration])
        world.daemon_pod("plugin")
        blocked = " ".join(look(world, REPAIR).blocked)
        assert (f"{NS}/plugin (give them a toleration" in blocked) == kept_off
        assert not look(world, PREFER).blocked
