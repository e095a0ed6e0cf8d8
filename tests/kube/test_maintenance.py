"""Out of service and back: what is ours is undone exactly, what is another's stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import maintenance
from runner.kube.api import RefusalError
from runner.kube.cluster import Cluster
from runner.kube.maintenance import (
    begin,
    end,
    give_back,
    keep_cordoned,
    pause_daemonsets,
    resume_daemonsets,
)
from runner.kube.preview import preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions
from tests.kube.names import NODE, NS, OTHER
from tests.kube.world import World

PLUGIN = "nvidia.com/gpu.deploy.device-plugin"
EXPORTER = "nvidia.com/gpu.deploy.dcgm-exporter"
DRIVER = "nvidia.com/gpu.deploy.driver"


def marks(world: World) -> dict[str, str]:
    """gpurun's annotations of the node, among those of others."""
    found = world.get("Node", NODE)["metadata"].get("annotations") or {}
    return {key: text for key, text in found.items() if key.startswith("gpurun.dev/")}


def labels(world: World) -> dict[str, str]:
    return dict(world.get("Node", NODE)["metadata"].get("labels") or {})


def cordoned(world: World) -> bool:
    return bool(world.get("Node", NODE)["spec"].get("unschedulable"))


class TestCordon:
    def test_cordon_and_marks_are_one_patch(self, world: World) -> None:
        world.node()
        cordon = begin(world.cluster, NODE, "run-1")
        assert cordon.ours and cordoned(world)
        assert marks(world)[maintenance.RUN] == "run-1"
        assert marks(world)[maintenance.CORDONED_BY] == "run-1"
        assert len(world.written) == 1

    def test_ending_leaves_the_node_as_it_was(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        assert end(world.cluster, NODE, "run-1") == f"node {NODE} uncordoned"
        assert not cordoned(world)
        assert marks(world) == {}

    def test_ending_twice_does_nothing_more(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        end(world.cluster, NODE, "run-1")
        before = tuple(world.written)
        assert end(world.cluster, NODE, "run-1") == f"node {NODE} is schedulable"
        assert tuple(world.written) == before

    def test_a_node_somebody_else_cordoned_stays_theirs(self, world: World) -> None:
        world.node()
        world.cordon()
        cordon = begin(world.cluster, NODE, "run-1")
        assert not cordon.ours and "somebody else" in cordon.note
        assert marks(world) == {maintenance.RUN: "run-1"}
        assert end(world.cluster, NODE, "run-1") == f"node {NODE} stays cordoned as it was before"
        assert cordoned(world)
        assert marks(world) == {}

    def test_a_node_another_run_left_cordoned_stays_so(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        with pytest.raises(ClusterError, match=f"run run-1 has not finished with node {NODE}"):
            begin(world.cluster, NODE, "run-2")
        end(world.cluster, NODE, "run-2")
        assert cordoned(world) and marks(world)[maintenance.RUN] == "run-1"
        assert end(world.cluster, NODE, "run-1") == f"node {NODE} uncordoned"

    def test_a_rollback_takes_over_what_the_run_left(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        maintenance.inherit(world.cluster, NODE, "run-1", "run-2")
        assert marks(world)[maintenance.RUN] == marks(world)[maintenance.CORDONED_BY] == "run-2"
        assert begin(world.cluster, NODE, "run-2").ours
        assert end(world.cluster, NODE, "run-2") == f"node {NODE} uncordoned"
        assert marks(world) == {}

    def test_a_rollback_takes_over_nothing_of_another_run(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        before = marks(world)
        maintenance.inherit(world.cluster, NODE, "run-0", "run-2")
        assert marks(world) == before

    def test_the_same_run_goes_on_after_a_crash(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        assert begin(Cluster(world.kubeconfig), NODE, "run-1").ours
        assert end(Cluster(world.kubeconfig), NODE, "run-1") == f"node {NODE} uncordoned"

    def test_a_node_uncordoned_meanwhile_is_left_so(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        world.cordon(cordoned=False)
        assert "by somebody else" in end(world.cluster, NODE, "run-1")
        assert marks(world) == {}

    @pytest.mark.parametrize(
        "mark", ["k8saas.nvidia.com/cordon-by", "skyhook.nvidia.com/cordon_kernel"]
    )
    def test_a_cordon_another_program_claims_as_well_stays(self, world: World, mark: str) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        world.change("Node", NODE, metadata={"labels": {mark: "x"}})
        assert mark in end(world.cluster, NODE, "run-1")
        assert cordoned(world)

    def test_a_conflict_is_met_with_a_fresh_read(self, world: World) -> None:
        world.node()
        world.fault(code=409, method="PATCH", count=3)
        assert begin(world.cluster, NODE, "run-1").ours
        assert cordoned(world)

    def test_endless_conflicts_end_in_words(self, world: World) -> None:
        world.node()
        world.fault(code=409, method="PATCH", count=None)
        with pytest.raises(ClusterError, match="changed by others"):
            begin(world.cluster, NODE, "run-1")

    def test_a_patch_whose_answer_is_lost_is_still_ours(self, world: World) -> None:
        world.node()
        world.fault(kind="lose", method="PATCH")
        assert begin(world.cluster, NODE, "run-1").ours
        assert cordoned(world)

    def test_a_missing_node(self, world: World) -> None:
        with pytest.raises(RefusalError, match="not found"):
            begin(world.cluster, NODE, "run-1")
        assert end(world.cluster, NODE, "run-1") == f"node {NODE} is no longer in the cluster"

    def test_who_may_only_read_is_told_what_is_missing(self, world: World, reader: Path) -> None:
        world.node()
        with pytest.raises(RefusalError, match='cannot patch resource "nodes"') as caught:
            begin(Cluster(reader), NODE, "run-1")
        assert "auth can-i" in caught.value.hint


class TestOperatorDaemonSets:
    @pytest.fixture(autouse=True)
    def operator(self, world: World) -> None:
        world.node(labels={PLUGIN: "true", EXPORTER: "false", DRIVER: "true", "zone": "a"})
        for name, key in (("plugin", PLUGIN), ("exporter", EXPORTER), ("driver", DRIVER)):
            world.daemonset(name, {key: "true"})
        world.daemon_pod("plugin")
        world.daemon_pod("driver")

    def pods(self, world: World) -> list[str]:
        found = world.cluster.pods_on(NODE)
        return sorted(pod.state.owner_name for pod in found)

    def pause(self, world: World, run: str = "run-1") -> tuple[str, ...]:
        return pause_daemonsets(world.cluster, NODE, run, world.progress, world.stop)

    def resume(self, world: World, run: str = "run-1", cluster: Cluster | None = None) -> None:
        resume_daemonsets(cluster or world.cluster, NODE, run, world.progress, world.stop)

    def test_gpu_clients_go_and_the_driver_stays(self, world: World) -> None:
        world.kubelet()
        assert self.pause(world) == (f"{NS}/plugin",)
        assert self.pods(world) == ["driver"]
        assert labels(world)[PLUGIN] == "paused-for-gpurun"
        assert labels(world)[EXPORTER] == "false"
        assert labels(world)[DRIVER] == "true"

    def test_the_plan_names_those_that_will_be_paused(self, world: World) -> None:
        snapshot = Snapshot(world.cluster, [NODE])
        node = snapshot.nodes()[NODE]
        found = preview(snapshot, node, DrainOptions(), "gpu", frees_gpus=True)
        assert found.pauses == (f"{NS}/plugin",)
        assert preview(snapshot, node, DrainOptions(), "gpu").pauses == ()
        world.kubelet()
        assert self.pause(world) == found.pauses

    def test_they_come_back_exactly_as_they_were(self, world: World) -> None:
        before = labels(world)
        world.kubelet()
        self.pause(world)
        self.resume(world)
        assert labels(world) == before
        assert marks(world) == {}
        assert self.pods(world) == ["driver", "plugin"]

    def test_a_new_process_with_the_same_run_resumes_them(self, world: World) -> None:
        before = labels(world)
        world.kubelet()
        self.pause(world)
        self.resume(world, cluster=Cluster(world.kubeconfig))
        assert labels(world) == before

    def test_killed_between_label_and_ready_the_next_waits_for_the_same_pods(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.starts = lambda pod: {"phase": "Running"}
        world.kubelet()
        self.pause(world)
        monkeypatch.setattr(maintenance, "READY_TIMEOUT", 0.1)
        for _ in range(2):
            with pytest.raises(ClusterError, match=f"{NS}/plugin not Ready"):
                self.resume(world, cluster=Cluster(world.kubeconfig))
        assert json.loads(marks(world)[maintenance.PAUSED])["run"] == "run-1"

    def test_a_label_somebody_changed_meanwhile_is_theirs(self, world: World) -> None:
        world.kubelet()
        self.pause(world)
        world.change("Node", NODE, metadata={"labels": {**labels(world), PLUGIN: "false"}})
        self.resume(world)
        assert labels(world)[PLUGIN] == "false"
        assert marks(world) == {}

    def test_what_a_dead_run_paused_the_next_takes_over(self, world: World) -> None:
        before = labels(world)
        world.kubelet()
        self.pause(world, "dead")
        assert self.pause(world, "run-2") == (f"{NS}/plugin",)
        self.resume(world, "dead")
        assert labels(world)[PLUGIN] == "paused-for-gpurun", "no longer the dead run's business"
        self.resume(world, "run-2")
        assert labels(world) == before

    def test_ending_restores_labels_that_are_still_paused(self, world: World) -> None:
        before = labels(world)
        world.kubelet()
        begin(world.cluster, NODE, "run-1")
        self.pause(world)
        end(world.cluster, NODE, "run-1")
        assert labels(world) == before
        assert marks(world) == {}

    def test_pods_that_do_not_go_are_named(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(maintenance, "GONE_TIMEOUT", 0.1)
        with pytest.raises(ClusterError, match=rf"{NS}/plugin-\w+ still there"):
            self.pause(world)

    def test_of_a_dead_kubelet_pods_are_not_waited_for_past_their_grace_period(
        self, world: World
    ) -> None:
        cluster, say, stop = world.cluster, world.progress, world.stop
        paused = pause_daemonsets(cluster, NODE, "run-1", say, stop, skip_wait=1)
        assert paused == (f"{NS}/plugin",)
        assert self.pods(world) == ["driver", "plugin"], "nobody has ended it"

    def test_a_node_without_the_operator_is_not_touched(self, world: World) -> None:
        world.node(2)
        pause_daemonsets(world.cluster, OTHER, "run-1", world.progress, world.stop)
        resume_daemonsets(world.cluster, OTHER, "run-1", world.progress, world.stop)
        assert world.written == []

    def test_an_annotation_that_cannot_be_read_is_told(self, world: World) -> None:
        notes: dict[str, Any] = {maintenance.PAUSED: "garbage"}
        world.change("Node", NODE, metadata={"annotations": notes})
        with pytest.raises(ClusterError, match=f"{maintenance.PAUSED} cannot be read"):
            self.resume(world)


class TestKeptCordoned:
    def test_the_end_of_the_run_does_not_give_it_back(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        keep_cordoned(world.cluster, NODE, "case 4711")
        told = f"node {NODE} stays cordoned for good: case 4711"
        assert end(world.cluster, NODE, "run-1") == told
        assert cordoned(world)
        assert marks(world) == {maintenance.CORDON_REASON: "case 4711"}

    def test_a_later_run_leaves_it_cordoned_too(self, world: World) -> None:
        world.node()
        keep_cordoned(world.cluster, NODE, "case 4711")
        assert not begin(world.cluster, NODE, "run-2").ours
        end(world.cluster, NODE, "run-2")
        assert cordoned(world)

    def test_given_back_it_takes_pods_and_has_no_marks(self, world: World) -> None:
        world.node()
        begin(world.cluster, NODE, "run-1")
        keep_cordoned(world.cluster, NODE, "case 4711")
        end(world.cluster, NODE, "run-1")
        give_back(world.cluster, NODE)
        assert not cordoned(world) and marks(world) == {}

    def test_what_somebody_had_cordoned_before_stays_cordoned(self, world: World) -> None:
        world.node()
        world.cordon()
        keep_cordoned(world.cluster, NODE, "case 4711")
        keep_cordoned(world.cluster, NODE, "case 4712")
        give_back(world.cluster, NODE)
        assert cordoned(world) and marks(world) == {}
        give_back(world.cluster, NODE)
        assert cordoned(world), "it is not ours"
