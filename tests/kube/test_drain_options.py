"""The options of a drain beyond kubectl's usual ones: jobs, deletion, pods that do not end."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import drain as drains
from runner.kube.drain import drain
from runner.kube.preview import DrainPreview, preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions, JobWait
from tests.kube.names import NODE, NS
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World

OPTIONS = DrainOptions(timeout=DEADLINE)
TRAINING = {"app": "training"}
WAIT = replace(OPTIONS, wait_for_jobs=JobWait("app=training", DEADLINE))


def run(world: World, options: DrainOptions, progress: Any = None) -> None:
    told = progress or world.progress
    drain(Snapshot(world.cluster), NODE, options, "full", told, world.stop)


def look(world: World, options: DrainOptions) -> DrainPreview:
    snapshot = Snapshot(world.cluster, [NODE])
    return preview(snapshot, snapshot.nodes()[NODE], options, "full")


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node()


class TestWaitForJobs:
    def test_nothing_is_evicted_before_they_have_finished(self, world: World) -> None:
        world.pod(pod("train", labels=TRAINING, grace=0))
        world.pod(pod("web", grace=0))

        def finish() -> None:
            assert world.has("Pod", "web")
            world.change("Pod", "train", status={"phase": "Succeeded"})

        run(world, WAIT, world.when(f"{NS}/train still at work", finish))
        assert not world.has("Pod", "web")
        assert not world.has("Pod", "train")
        waiting = f"node {NODE}: waiting for jobs (app=training) to finish: {NS}/train still"
        assert any(text.startswith(waiting) for text in world.said)

    def test_when_time_is_over_nothing_was_evicted(self, world: World) -> None:
        world.pod(pod("train", labels=TRAINING, grace=0))
        world.pod(pod("web", grace=0))
        brief = replace(OPTIONS, wait_for_jobs=JobWait("app=training", 0.05))
        with pytest.raises(ClusterError, match=f"{NS}/train still at work") as caught:
            run(world, brief)
        assert "give wait_for_jobs a longer timeout" in caught.value.hint
        assert world.has("Pod", "web") and world.has("Pod", "train")

    def test_what_may_not_go_is_told_before_waiting(self, world: World) -> None:
        world.pod(pod("train", labels=TRAINING))
        world.pod(pod("bare", owner=""))
        with pytest.raises(ClusterError, match="declare no controller"):
            run(world, WAIT)

    def test_the_plan_shows_them(self, world: World) -> None:
        world.pod(pod("train", labels=TRAINING))
        world.pod(pod("done", labels=TRAINING, phase="Succeeded"))
        (wait,) = look(world, WAIT).waits
        assert wait == (
            f"waits first until {NS}/train have finished (at most {DEADLINE:g} s, then nothing"
            " is evicted and the node is given back)"
        )

    def test_those_that_stay_anyway_are_not_waited_for(self, world: World) -> None:
        world.pod(pod("train", labels=TRAINING))
        run(world, replace(WAIT, namespace_exclude=(NS,)))
        assert world.has("Pod", "train")


class TestDisableEviction:
    def test_pods_are_deleted_past_their_budget(self, world: World) -> None:
        world.replicas("web", pod("web", labels={"app": "web"}, grace=0))
        world.budget(maxUnavailable=0)
        deleting = replace(OPTIONS, disable_eviction=True)
        world.fault(code=500, method="POST", path="eviction", count=None)
        found = look(world, deleting)
        assert not found.blocked
        assert found.warnings == (
            f"disable_eviction deletes past PodDisruptionBudget {NS}/keep: {NS}/web",
        )
        assert world.has("Pod", "web"), "a preview deletes nothing"
        run(world, deleting)
        assert not world.has("Pod", "web")
        assert f"deleting {NS}/web (grace 0 s)" in world.said

    def test_without_it_the_budget_blocks(self, world: World) -> None:
        world.replicas("web", pod("web", labels={"app": "web"}))
        world.budget(maxUnavailable=0)
        assert "never allows an eviction" in look(world, OPTIONS).blocked[0]


class TestStuck:
    def stuck(self, world: World, seconds: float) -> None:
        """A pod that its finalizer keeps this long past its grace period."""
        item = pod("stuck")
        item["metadata"]["finalizers"] = ["example.com/keep"]
        world.pod(item)
        world.delete("Pod", "stuck", grace=1)
        world.proxy.ahead = seconds + 1

    def test_it_is_told_for_how_long_and_what_holds_it(self, world: World) -> None:
        self.stuck(world, 90)
        with pytest.raises(ClusterError) as caught:
            run(world, replace(OPTIONS, timeout=0.1))
        said = caught.value.message
        assert re.search(
            rf"still there: {NS}/stuck \(still terminating, 9\d s past its grace period, held by"
            r" example.com/keep\)",
            said,
        )
        assert "skip_wait_for_delete_timeout" in caught.value.hint

    def test_it_may_be_left_behind(self, world: World) -> None:
        self.stuck(world, 90)
        world.pod(pod("web", grace=0))
        run(world, replace(OPTIONS, skip_wait_for_delete_timeout=60))
        assert world.has("Pod", "stuck")
        assert not world.has("Pod", "web")

    def test_not_before_that_time(self, world: World) -> None:
        self.stuck(world, 30)
        with pytest.raises(ClusterError, match=f"{NS}/stuck"):
            run(world, replace(OPTIONS, timeout=0.1, skip_wait_for_delete_timeout=60))

    def test_a_long_wait_is_told_again_and_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(drains, "REMIND", 0.0)
        self.stuck(world, 90)

        def free() -> None:
            world.change("Pod", "stuck", metadata={"finalizers": None})
            world.delete("Pod", "stuck")

        run(world, OPTIONS, world.when(f"node {NODE}: draining for", free))
        assert any(f"of {DEADLINE:.0f} s; still there: {NS}/stuck" in text for text in world.said)
