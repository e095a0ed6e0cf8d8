"""A drain is done when the pods are seen gone, and says what holds it while they are not."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import waiting
from runner.kube.api import RefusalError, SilenceError
from runner.kube.cluster import Cluster
from runner.kube.drain import drain
from runner.kube.preview import DrainPreview, preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainMode, DrainOptions
from runner.kube.waiting import StoppedError
from runner.lab.kube.kinds import KIND
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World

WEB = {"app": "web"}
OPTIONS = DrainOptions(timeout=DEADLINE)


def run(
    world: World,
    mode: DrainMode = "full",
    options: DrainOptions = OPTIONS,
    progress: Any = None,
    holders: dict[str, str] | None = None,
) -> None:
    snapshot = Snapshot(world.cluster)
    drain(snapshot, "gpu-1", options, mode, progress or world.progress, world.stop, holders)


def look(
    world: World,
    mode: DrainMode = "full",
    options: DrainOptions = OPTIONS,
    holders: dict[str, str] | None = None,
) -> DrainPreview:
    snapshot = Snapshot(world.cluster, ["gpu-1"])
    return preview(snapshot, snapshot.nodes()["gpu-1"], options, mode, holders)


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
            drain(Snapshot(reader), "gpu-1", OPTIONS, "full", world.progress, world.stop)


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
        snapshot = Snapshot(reader, ["gpu-1"])
        found = preview(snapshot, snapshot.nodes()["gpu-1"], OPTIONS, "full")
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


UID = "7a3f1c52-0d5e-4f0a-9a7e-3c1d2b4e5f60"
HELD = {UID: "python (pid 7) holds /dev/nvidia0"}


def with_uid(item: dict[str, Any], uid: str = UID) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "uid": uid}}


class TestGpuUsers:
    """Who uses a GPU is not only who asks for one by resource."""

    def test_a_pod_whose_process_holds_a_device_is_evicted(self, world: World) -> None:
        world.pod(with_uid(pod("privileged", grace=0)))
        world.pod(pod("web"))
        found = look(world, "gpu", holders=HELD)
        assert [each.name for each in found.evict] == ["privileged"]
        assert found.warnings == (
            "default/privileged asks for no GPU but uses one: its process python (pid 7) holds"
            " /dev/nvidia0",
        )
        run(world, "gpu", holders=HELD)
        assert not world.has("Pod", "privileged", "default")
        assert world.has("Pod", "web", "default")

    def test_it_obeys_the_filters_like_any_other(self, world: World) -> None:
        world.pod(with_uid(pod("bare", owner="")))
        (reason,) = look(world, "gpu", holders=HELD).blocked
        assert reason == (
            "cannot delete Pods that declare no controller (use --force to override): default/bare"
        )

    def test_a_daemon_that_stays_and_holds_a_device_is_named(self, world: World) -> None:
        world.node()
        made = world.daemonset("monitor", "default")
        item = pod("monitor-1", owner="DaemonSet", owner_name="monitor")
        item["metadata"]["ownerReferences"][0]["uid"] = made["metadata"]["uid"]
        world.pod(with_uid(item))
        found = look(world, "gpu", holders=HELD)
        assert found.evict == ()
        assert found.warnings == (
            "default/monitor-1 stays although its process python (pid 7) holds /dev/nvidia0:"
            " keep its DaemonSet monitor off the node meanwhile",
        )

    def test_one_that_the_operator_takes_away_is_not(self, world: World) -> None:
        label = "nvidia.com/gpu.deploy.dcgm-exporter"
        node = world.get("Node", "gpu-1")
        world.put("Node", {**node, "metadata": {**node["metadata"], "labels": {label: "true"}}})
        template = {"spec": {"nodeSelector": {label: "true"}}}
        meta = {"name": "exporter", "namespace": "default"}
        made = world.put("DaemonSet", {"metadata": meta, "spec": {"template": template}})
        item = pod("exporter-1", owner="DaemonSet", owner_name="exporter")
        item["metadata"]["ownerReferences"][0]["uid"] = made["metadata"]["uid"]
        world.pod(with_uid(item))
        assert look(world, "gpu", holders=HELD).warnings == ()

    def test_a_static_pod_is_known_by_its_digest(self, world: World) -> None:
        item = pod("static-gpu-1", mirror=True)
        item["metadata"]["annotations"]["kubernetes.io/config.hash"] = "0f" * 16
        world.pod(item)
        held = {"0f" * 16: "python (pid 7) holds /dev/nvidia0"}
        (warning,) = look(world, "gpu", holders=held).warnings
        assert "a static pod goes with its manifest on the node" in warning

    def test_a_renamed_resource_is_a_gpu(self, world: World) -> None:
        item = pod("train")
        item["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/a100-pool": "1"}}
        world.pod(item)
        other = pod("rdma")
        other["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/hostdev": "1"}}
        world.pod(other)
        assert [each.name for each in look(world, "gpu").evict] == ["train"]

    def test_an_init_container_counts(self, world: World) -> None:
        init = {"name": "i", "image": "x", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}
        world.pod(pod("train", initContainers=[init]))
        world.pod(pod("web"))
        assert [each.name for each in look(world, "gpu").evict] == ["train"]


class TestResourceClaims:
    def claim(self, world: World, name: str, driver: str) -> None:
        results = [{"driver": driver, "device": "gpu-0", "pool": "gpu-1", "request": "r"}]
        status = {"allocation": {"devices": {"results": results}}}
        meta = {"name": name, "namespace": "default"}
        world.put("ResourceClaim", {"metadata": meta, "status": status})

    def claiming(self, name: str, claim: str, made: str = "") -> dict[str, Any]:
        entry = {"name": "r", "resourceClaimTemplateName": "t"}
        if not made:
            entry = {"name": "r", "resourceClaimName": claim}
        item = pod(name, grace=0, resourceClaims=[entry])
        if made:
            item["status"]["resourceClaimStatuses"] = [{"name": "r", "resourceClaimName": made}]
        return item

    def test_a_claim_for_a_gpu_counts_and_another_does_not(self, world: World) -> None:
        self.claim(world, "gpu", "gpu.nvidia.com")
        self.claim(world, "made-for-it", "gpu.nvidia.com")
        self.claim(world, "nic", "dra.net")
        world.pod(self.claiming("direct", "gpu"))
        world.pod(self.claiming("template", "", "made-for-it"))
        world.pod(self.claiming("network", "nic"))
        found = look(world, "gpu")
        assert [each.name for each in found.evict] == ["direct", "template"]
        assert found.warnings[0] == "default/direct asks for no GPU but uses one: a resource claim"
        run(world, "gpu")
        assert world.has("Pod", "network", "default")
        assert not world.has("Pod", "direct", "default")

    def test_claims_that_cannot_be_read_count(self, world: World) -> None:
        self.claim(world, "nic", "dra.net")
        world.pod(self.claiming("network", "nic"))
        world.fault(code=403, path="resourceclaims", message="forbidden", count=None)
        (warning,) = look(world, "gpu").warnings
        assert "what its resource claims are for is not known: forbidden" in warning

    def test_nothing_is_asked_where_no_pod_has_a_claim(self, world: World) -> None:
        world.pod(pod("train", gpus=1))
        world.fault(code=403, path="resource.k8s.io", count=None)
        assert [each.name for each in look(world, "gpu").evict] == ["train"]


class TestSharedReads:
    """What a phase needs of the cluster is listed once, however many nodes it is for."""

    def test_many_nodes_are_previewed_from_one_list_of_each_kind(self, world: World) -> None:
        names = [f"gpu-{n}" for n in range(1, 21)]
        for name in names:
            world.node(name)
            for number in range(3):
                world.pod(pod(f"web-{name}-{number}", node=name))
        snapshot = Snapshot(world.cluster, names)
        nodes = snapshot.nodes()
        with ThreadPoolExecutor(8) as pool:
            found = list(
                pool.map(lambda name: preview(snapshot, nodes[name], OPTIONS, "full"), names)
            )
        assert [len(each.evict) for each in found] == [3] * 20
        # Nodes, pods, budgets; and one question about pods that are all alike.
        assert world.cluster.api.requests == 3 + 1

    def test_pods_that_differ_are_asked_about_each(self, world: World) -> None:
        world.budget(maxUnavailable=1)
        for number in range(3):
            world.pod(pod(f"web-{number}", labels=WEB))
            world.pod(pod(f"free-{number}"))
            world.pod(pod(f"other-{number}", owner_name="other"))
        late = pod("late", labels=WEB, phase="Pending")
        world.pod(late)
        assert len(look(world).evict) == 10
        # Nodes, pods, budgets, and once more; guarded, pending, free, those of the other owner.
        assert world.cluster.api.requests == 4 + 4

    def test_what_one_pod_is_told_holds_for_those_alike(self, world: World) -> None:
        world.budget(maxUnavailable=0)
        for number in range(3):
            world.pod(pod(f"web-{number}", labels=WEB))
        assert len(look(world).blocked) == 3

    def test_drains_at_the_same_time_share_lists(self, world: World) -> None:
        names = [f"gpu-{n}" for n in range(1, 17)]
        for name in names:
            world.node(name)
            world.pod(pod(f"web-{name}", node=name, grace=0))
        snapshot = Snapshot(world.cluster)
        asked: list[str] = []
        listed = world.cluster.list_pods

        def counted(labels: str = "", node: str = "") -> Any:
            asked.append(node)
            time.sleep(0.05)  # long enough for the others to come
            return listed(labels, node)

        world.cluster.list_pods = counted  # type: ignore[method-assign]
        with ThreadPoolExecutor(16) as pool:
            for name in names:
                pool.submit(drain, snapshot, name, OPTIONS, "full", world.progress, world.stop)
        assert not any(world.has("Pod", f"web-{name}", "default") for name in names)
        # By itself, each would be listed twice at least: before and after its pod goes.
        assert len(asked) < 2 * len(names)
