"""A drain is done when the pods are seen gone, and says what holds it while they are not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import waiting
from runner.kube.api import RefusalError, SilenceError
from runner.kube.cluster import Cluster
from runner.kube.drain import DrainPreview, drain, preview
from runner.kube.state import DrainMode, DrainOptions
from runner.kube.waiting import StoppedError
from runner.lab.kube.kinds import KIND
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World

WEB = {"app": "web"}
OPTIONS = DrainOptions(timeout=DEADLINE)


def run(
    world: World, mode: DrainMode = "full", options: DrainOptions = OPTIONS, progress: Any = None
) -> None:
    drain(world.cluster, "gpu-1", options, mode, progress or world.progress, world.stop)


def look(world: World, mode: DrainMode = "full", options: DrainOptions = OPTIONS) -> DrainPreview:
    return preview(world.cluster, "gpu-1", options, mode)


def ready_elsewhere(world: World, name: str) -> None:
    world.pod(pod(name, node="gpu-2", labels=WEB))


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node()


class TestDrain:
    def test_pods_are_evicted_and_seen_gone(self, world: World) -> None:
        world.pod(pod("a"))
        world.pod(pod("b"))
        world.pod(pod("elsewhere", node="gpu-2"))
        world.run_controllers()
        run(world)
        assert not world.has("Pod", "a", "default") and not world.has("Pod", "b", "default")
        assert world.has("Pod", "elsewhere", "default")
        assert "evicting default/a (grace 1 s)" in world.said
        assert "default/a is gone" in world.said

    def test_an_empty_node_needs_one_look(self, world: World) -> None:
        run(world)
        assert world.cluster.api.requests == 1
        assert world.said == []

    def test_accepted_is_not_gone(self, world: World) -> None:
        world.pod(pod("slow"))
        with pytest.raises(ClusterError, match=r"default/slow \(still terminating\)"):
            run(world, options=DrainOptions(timeout=0.2))

    def test_gpu_mode_leaves_the_others(self, world: World) -> None:
        world.pod(pod("train", gpus=1, grace=0))
        world.pod(pod("web"))
        world.pod(pod("bare", owner=""))
        run(world, "gpu")
        assert not world.has("Pod", "train", "default")
        assert world.has("Pod", "web", "default") and world.has("Pod", "bare", "default")

    def test_mode_none_asks_nothing(self, world: World) -> None:
        run(world, "none")
        assert world.cluster.api.requests == 0

    def test_nothing_is_evicted_while_one_pod_may_not_go(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        world.pod(pod("bare", owner="", grace=0))
        with pytest.raises(ClusterError, match=r"declare no controller .*: default/bare"):
            run(world)
        assert world.has("Pod", "a", "default")

    def test_the_pod_selector_narrows_what_is_looked_at(self, world: World) -> None:
        world.pod(pod("a", labels=WEB, grace=0))
        world.pod(pod("bare", owner=""))
        run(world, options=DrainOptions(pod_selector="app in (web)", timeout=DEADLINE))
        assert not world.has("Pod", "a", "default") and world.has("Pod", "bare", "default")

    def test_a_bad_pod_selector_is_the_servers_to_refuse(self, world: World) -> None:
        with pytest.raises(RefusalError) as caught:
            run(world, options=DrainOptions(pod_selector="a=(", timeout=DEADLINE))
        assert caught.value.code == 400

    def test_pods_that_arrive_meanwhile_go_as_well(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        late = world.when("evicting default/a", lambda: world.pod(pod("late", grace=0)))
        run(world, progress=late)
        assert not world.has("Pod", "late", "default")

    def test_a_pod_of_the_same_name_elsewhere_is_another_pod(self, world: World) -> None:
        """A StatefulSet starts web-0 on another node under the same name: the old one is gone."""
        world.pod(pod("web-0", owner="StatefulSet"))

        def recreate() -> None:
            world.pod(pod("web-0", owner="StatefulSet", node="gpu-2"))

        run(world, progress=world.when("evicting default/web-0", recreate))
        assert world.get("Pod", "web-0", "default")["spec"]["nodeName"] == "gpu-2"
        assert "deletionTimestamp" not in world.get("Pod", "web-0", "default")["metadata"]

    def test_an_eviction_whose_answer_is_lost_is_not_done_to_the_successor(
        self, world: World
    ) -> None:
        world.pod(pod("a", grace=0))
        world.fault(kind="lose", path="eviction")
        run(world)
        assert not world.has("Pod", "a", "default")

    def test_finished_pods_go_whatever_their_budget(self, world: World) -> None:
        world.pod(pod("job", owner="", phase="Succeeded", labels=WEB))
        world.budget(minAvailable=1)
        run(world)
        assert not world.has("Pod", "job", "default")

    def test_a_pod_that_is_terminating_already_is_waited_for(self, world: World) -> None:
        item = pod("a")
        item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        world.pod(item)
        run(world, progress=world.when("is already terminating", world.finish_terminating))
        assert not any("evicting" in text for text in world.said)

    def test_a_grace_period_of_our_own_is_asked_for(self, world: World) -> None:
        world.pod(pod("a", grace=600))
        run(world, options=DrainOptions(grace_period=0, timeout=DEADLINE))
        assert "evicting default/a (grace 0 s)" in world.said

    def test_many_pods_cost_one_eviction_each_and_few_looks(self, world: World) -> None:
        for number in range(30):
            world.pod(pod(f"p{number}", grace=0))
        run(world)
        assert world.cluster.api.requests == 30 + 2


class TestBudgets:
    def test_a_budget_holds_and_then_allows(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB, grace=0))
        world.budget(minAvailable=1)
        replace = world.when("must wait", lambda: ready_elsewhere(world, "web-2"))
        run(world, progress=replace)
        assert not world.has("Pod", "web-1", "default")
        held = [text for text in world.said if "must wait" in text]
        assert len(held) == 1, "told once, however often it is asked"
        assert "disruption budget keep needs 1 healthy pods and has 1 currently" in held[0]

    def test_a_budget_that_holds_to_the_end_is_named(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB, grace=0))
        world.pod(pod("other", grace=0))
        world.budget(minAvailable=1)
        with pytest.raises(ClusterError) as caught:
            run(world, options=DrainOptions(timeout=0.3))
        assert "default/web-1 (The disruption budget keep" in caught.value.message
        assert "other" not in caught.value.message
        assert world.has("Pod", "web-1", "default")

    def test_a_slow_pod_does_not_keep_others_waiting(self, world: World) -> None:
        for number in range(10):
            world.pod(pod(f"web-{number}", labels=WEB, grace=0))
        world.pod(pod("z", grace=0))
        world.budget(minAvailable=10)
        with pytest.raises(ClusterError):
            run(world, options=DrainOptions(timeout=0.5))
        assert not world.has("Pod", "z", "default")

    def test_two_budgets_end_the_drain_and_are_both_named(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB))
        world.budget("one", maxUnavailable=1)
        world.budget("two", maxUnavailable=1)
        with pytest.raises(ClusterError, match="default/one and default/two both guard it"):
            run(world)

    def test_retry_after_is_waited_for(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        world.fault(code=429, headers={"Retry-After": "1"}, path="eviction")
        began = time.monotonic()
        run(world)
        assert time.monotonic() - began >= 1.0

    def test_a_terminating_namespace_is_waited_for(self, world: World) -> None:
        world.pod(pod("a"))
        gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        world.change("Namespace", "default", metadata=gone)
        remove = world.when(
            "being terminated",
            lambda: world.store.remove(KIND["Pod"], world.get("Pod", "a", "default")),
        )
        run(world, progress=remove)
        assert "default/a is gone" in world.said


class TestFailures:
    def test_stop_ends_it_promptly(self, world: World) -> None:
        world.pod(pod("slow"))
        stop = world.when("evicting", world.stop.set)
        with pytest.raises(StoppedError, match="default/slow"):
            run(world, progress=stop)

    def test_a_stop_before_the_first_eviction_evicts_nothing(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        world.stop.set()
        with pytest.raises(StoppedError):
            run(world)
        assert world.has("Pod", "a", "default")

    def test_a_server_that_goes_down_for_long_is_an_error(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "PATIENCE", 0.2)
        world.pod(pod("slow"))
        down = world.when("evicting", lambda: world.fault(kind="drop", method="GET", count=None))
        with pytest.raises(SilenceError, match="list pods of node gpu-1"):
            run(world, progress=down)
        assert any("the API server does not answer, waiting" in text for text in world.said)

    def test_a_short_silence_is_borne(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        silent = world.when(
            "evicting default/a", lambda: world.fault(kind="drop", method="GET", count=10)
        )
        run(world, progress=silent)
        assert not world.has("Pod", "a", "default")

    def test_who_may_not_evict_is_told(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        reader = Cluster(world.kubeconfig.with_name("kubeconfig-reader"))
        with pytest.raises(ClusterError, match="pods/eviction"):
            drain(reader, "gpu-1", OPTIONS, "full", world.progress, world.stop)


class TestPreview:
    def test_it_says_who_would_go_and_changes_nothing(self, world: World) -> None:
        world.pod(pod("a", grace=45))
        world.pod(pod("b", grace=5, empty_dir=True))
        before = world.store.version
        found = look(world, options=DrainOptions(delete_emptydir_data=True))
        assert [each.name for each in found.evict] == ["a", "b"]
        assert found.grace == 45.0
        assert found.warnings == ("deleting Pods with local storage: default/b",)
        assert not found.blocked and not found.waits
        assert world.store.version == before

    def test_what_the_options_forbid_blocks(self, world: World) -> None:
        world.pod(pod("bare", owner=""))
        found = look(world)
        assert found.blocked == (
            "cannot delete Pods that declare no controller (use --force to override): default/bare",
        )

    @pytest.mark.parametrize(
        ("spec", "why"),
        [
            ({"maxUnavailable": 0}, "maxUnavailable is 0"),
            ({"minAvailable": 1}, "minAvailable 1 needs 1 healthy pods of the 1 there are"),
        ],
    )
    def test_a_budget_that_can_never_allow_it_blocks(
        self, world: World, spec: dict[str, Any], why: str
    ) -> None:
        world.pod(pod("web-1", labels=WEB))
        world.budget(**spec)
        found = look(world)
        assert found.blocked == (
            f"default/web-1: PodDisruptionBudget default/keep: never allows an eviction: {why}",
        )

    def test_a_budget_that_holds_now_is_waited_for(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB))
        unready = pod("web-2", node="gpu-2", labels=WEB)
        unready["status"]["conditions"] = []
        world.pod(unready)
        world.budget(minAvailable=1)
        found = look(world)
        assert not found.blocked
        assert found.waits == (
            "default/web-1: PodDisruptionBudget default/keep:"
            " The disruption budget keep needs 1 healthy pods and has 1 currently",
        )

    def test_a_budget_that_lets_them_go_one_by_one_is_told(self, world: World) -> None:
        for number in range(3):
            world.pod(pod(f"web-{number}", labels=WEB))
        budget = world.budget(minAvailable=2)
        status = {"disruptionsAllowed": 1, "expectedPods": 3, "desiredHealthy": 2}
        world.change("PodDisruptionBudget", budget["metadata"]["name"], "default", status=status)
        found = look(world)
        assert not found.blocked
        assert "allows 1 of the 3 pods here to go" in found.waits[0]

    def test_two_budgets_block(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB))
        world.budget("one", maxUnavailable=1)
        world.budget("two", maxUnavailable=1)
        (reason,) = look(world).blocked
        assert "default/one and default/two both guard it" in reason

    def test_who_may_not_evict_is_told_before(self, world: World) -> None:
        world.pod(pod("a"))
        reader = Cluster(world.kubeconfig.with_name("kubeconfig-reader"))
        found = preview(reader, "gpu-1", OPTIONS, "full")
        assert "pods/eviction" in found.blocked[0]

    def test_gpu_mode_asks_only_about_gpu_pods(self, world: World) -> None:
        world.pod(pod("train", gpus=2))
        world.pod(pod("web"))
        found = look(world, "gpu")
        assert [each.name for each in found.evict] == ["train"]
        assert found.evict[0].gpu_requests == {"nvidia.com/gpu": 2}

    def test_an_empty_node_and_mode_none(self, world: World) -> None:
        assert look(world) == DrainPreview()
        assert look(world, "none") == DrainPreview()
