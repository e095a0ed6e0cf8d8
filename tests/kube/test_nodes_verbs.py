"""`gpurun nodes` and `gpurun unlock`."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runner.cli.nodes import nodes, unlock
from runner.engine.unlocking import refusal
from runner.errors import GpurunError
from runner.kube.leases import NodeLease
from runner.kube.lock import NodeLock, RolloutLock
from runner.kube.maintenance import begin, end, keep_cordoned
from tests.kube.names import NODE, OTHER
from tests.kube.objects import pod
from tests.kube.world import World

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def call(world: World, verb: Any, *arguments: str) -> Result:
    given = [*arguments, "-i", f"{NODE},{OTHER},", "--kubeconfig", str(world.kubeconfig)]
    return CliRunner().invoke(verb, given, standalone_mode=False)


def shown(world: World) -> dict[str, Any]:
    answer = json.loads(call(world, nodes, "-o", "json").stdout)
    return {entry["host"]: entry for entry in answer}


LEASE = f"gpurun-{NODE}"


@pytest.fixture(autouse=True)
def _leases(world: World) -> None:
    for name in (LEASE, "gpurun.rollout"):
        world.removes("Lease", name, "kube-system")


def lease(world: World, holder: str, age: float, name: str = LEASE) -> None:
    renewed = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 60, "renewTime": renewed}
    meta = {
        "name": name,
        "namespace": "kube-system",
        "annotations": {"gpurun.dev/run": "run-1"},
    }
    world.create("Lease", {"metadata": meta, "spec": spec}, "kube-system")


def holder(world: World) -> str | None:
    found = world.get("Lease", LEASE, "kube-system")["spec"].get("holderIdentity")
    return None if found is None else str(found)


class TestNodes:
    def test_an_idle_node_and_one_the_cluster_lacks(self, world: World) -> None:
        world.node()
        found = shown(world)
        assert found[NODE] == {
            "host": NODE,
            "node": NODE,
            "ready": True,
            "cordoned": None,
            "lock": None,
            "rollout": None,
            "gpus": {"nvidia.com/gpu": {"allocatable": 8, "used": 0}},
            "annotations": {},
        }
        assert f"no node '{OTHER}'" in found[OTHER]["unknown"]

    def test_a_node_a_run_works_on(self, world: World) -> None:
        world.node()
        world.pod(pod("train", gpus=3))
        with NodeLock(world.cluster, NODE, "run-1", "me@here pid 7"):
            begin(world.cluster, NODE, "run-1")
            node = shown(world)[NODE]
            table = call(world, nodes).stdout
        assert node["cordoned"]["run"] == "run-1" and node["cordoned"]["since"]
        assert (node["lock"]["holder"], node["lock"]["run"]) == ("me@here pid 7", "run-1")
        assert node["lock"]["expired"] is False and node["rollout"] is None
        assert "rollout lock" not in table
        assert node["gpus"]["nvidia.com/gpu"] == {"allocatable": 8, "used": 3}
        assert node["annotations"]["gpurun.dev/run"] == "run-1"
        assert "by run run-1 since" in table and "gpu 3/8" in table
        assert f"{NODE}: run run-1 works there; if it was killed: gpurun resume run-1" in table

    def test_what_to_run_for_nodes_that_are_out_of_service(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        left = f"{NODE}: left out of service by run run-1: gpurun resume run-1"
        assert left in call(world, nodes).stdout
        end(world.cluster, NODE, "run-1")
        assert NODE + ":" not in call(world, nodes).stdout
        keep_cordoned(world.cluster, NODE, "GPU 3 lost, case 4711")
        told = call(world, nodes).stdout
        assert "for good (GPU 3 lost, case 4711)" in told and "gpurun apply gpu-online" in told

    def test_what_somebody_else_cordoned(self, world: World) -> None:
        world.node()
        world.cordon()
        cordoned = shown(world)[NODE]["cordoned"]
        assert (cordoned["run"], cordoned["by"]) == ("", "somebody") and cordoned["since"]
        told = call(world, nodes).stdout
        assert " somebody since " in told
        assert f"{NODE}: cordoned by somebody: ask there" in told

    def test_who_takes_nodes_of_the_cluster_out_of_service(self, world: World) -> None:
        world.node()
        world.node(2)
        with RolloutLock(world.cluster, "run-1", "me@here pid 7"):
            found, told = shown(world), call(world, nodes).stdout
        for node in found.values():
            lock = node["rollout"]
            assert (lock["holder"], lock["run"]) == ("me@here pid 7", "run-1")
            assert lock["since"] and lock["expired"] is False
        line = f"rollout lock of the cluster of {NODE} and 1 more: me@here pid 7 (run run-1) since"
        assert told.count("rollout lock") == 1 and line in told
        assert shown(world)[NODE]["rollout"] is None, "released"

    def test_a_lock_that_has_run_out(self, world: World) -> None:
        world.node()
        lease(world, "you@elsewhere pid 7", age=600)
        lease(world, "you@elsewhere pid 7", age=600, name="gpurun.rollout")
        node, told = shown(world)[NODE], call(world, nodes).stdout
        assert node["lock"]["expired"] and node["rollout"]["expired"]
        assert told.count("you@elsewhere pid 7 (run run-1, has run out)") == 2

    def test_locks_that_may_not_be_read_are_said_to_be_unknown(self, world: World) -> None:
        world.node()
        world.fault(code=403, path="leases", count=None)
        told = call(world, nodes).stdout
        assert f"rollout lock of the cluster of {NODE}: unknown: " in told


class TestUnlock:
    def test_a_lease_that_ran_out_is_ended_and_the_rest_is_said(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        lease(world, "you@elsewhere pid 7", age=600)
        answer = call(world, unlock, NODE, "--reason", "that machine is gone")
        assert answer.exception is None
        assert "unlocked; it was held by you@elsewhere pid 7 (run run-1)" in answer.stdout
        assert "still cordoned by run run-1: gpurun resume run-1" in answer.stdout
        assert holder(world) is None
        meta = world.get("Lease", LEASE, "kube-system")["metadata"]
        assert meta["annotations"]["gpurun.dev/unlocked"].endswith(": that machine is gone")

    def test_one_that_is_renewed_elsewhere_stays(self, world: World) -> None:
        world.node()
        lease(world, "you@elsewhere pid 7", age=5)
        answer = call(world, unlock, NODE, "--reason", "in the way")
        assert isinstance(answer.exception, GpurunError)
        assert "it has run out in" in answer.exception.message
        assert holder(world) == "you@elsewhere pid 7"

    def test_unless_forced(self, world: World) -> None:
        world.node()
        lease(world, "you@elsewhere pid 7", age=5)
        call(world, unlock, NODE, "--reason", "in the way", "--force")
        assert holder(world) is None

    def test_its_run_notices(self, world: World) -> None:
        world.node()
        with NodeLock(world.cluster, NODE, "run-1", "me@here pid 7") as held:
            call(world, unlock, NODE, "--reason", "in the way", "--force")
            assert held._renew() is False
            held.lost.set()

    def test_paused_labels_are_named(self, world: World) -> None:
        world.node()
        label = "nvidia.com/gpu.deploy.device-plugin"
        note = json.dumps({"run": "run-1", "labels": {label: "true"}})
        world.change("Node", NODE, metadata={"annotations": {"gpurun.dev/paused": note}})
        answer = call(world, unlock, NODE, "--reason", "x")
        assert f"node {NODE} is not locked" in answer.stdout
        assert f"run run-1 paused {label}: gpurun resume run-1" in answer.stdout

    def test_an_unknown_node(self, world: World) -> None:
        answer = call(world, unlock, "gpu-9", "--reason", "x")
        assert isinstance(answer.exception, GpurunError)
        assert "no node 'gpu-9'" in answer.exception.message


def node_lease(holder: str, renewed: datetime | None = NOW) -> NodeLease:
    return NodeLease(f"gpurun-{NODE}", holder, "run-1", "", renewed)


@pytest.mark.parametrize(
    ("lease", "later", "why"),
    [
        (node_lease("you@there pid 7"), 30, "renewed it at 12:00:00 UTC"),
        (node_lease("you@there pid 7"), 71, ""),
        (node_lease("you@there pid 7", None), 3600, "does not say since when"),
        (node_lease(f"me@{socket.gethostname()} pid 4194305"), 1, ""),
        (node_lease("somebody else's text"), 30, "renewed it"),
    ],
)
def test_when_a_lease_may_be_taken_away(lease: NodeLease, later: int, why: str) -> None:
    said = refusal(lease, NOW + timedelta(seconds=later), socket.gethostname())
    assert why in said and bool(why) == bool(said)


def test_a_process_of_this_machine_that_lives_keeps_its_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runner.engine.unlocking.process_is_gpurun", lambda number: True)
    lease = node_lease(f"me@{socket.gethostname()} pid {os.getpid()}")
    assert "is alive" in refusal(lease, NOW + timedelta(hours=1), socket.gethostname())
