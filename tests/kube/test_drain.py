"""A drain is done when the pods are seen gone, and says what holds it while they are not."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import waiting
from runner.kube.api import RefusalError, SilenceError, UnservedError
from runner.kube.cluster import Cluster
from runner.kube.drain import drain
from runner.kube.preview import DrainPreview, preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainMode, DrainOptions
from runner.kube.waiting import StoppedError
from tests.kube.names import NODE, NS, OTHER
from tests.kube.objects import pod, recorded
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
    drain(snapshot, NODE, options, mode, progress or world.progress, world.stop, holders)


def look(
    world: World,
    mode: DrainMode = "full",
    options: DrainOptions = OPTIONS,
    holders: dict[str, str] | None = None,
) -> DrainPreview:
    snapshot = Snapshot(world.cluster, [NODE])
    return preview(snapshot, snapshot.nodes()[NODE], options, mode, holders)


def ready_elsewhere(world: World, name: str) -> None:
    world.pod(pod(name, node=OTHER, labels=WEB))


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node()


class TestDrain:
    def test_pods_are_evicted_and_seen_gone(self, world: World) -> None:
        world.pod(pod("a"))
        world.pod(pod("b"))
        world.pod(pod("elsewhere", node=OTHER))
        world.kubelet()
        run(world)
        assert not world.has("Pod", "a") and not world.has("Pod", "b")
        assert world.has("Pod", "elsewhere")
        assert f"evicting {NS}/a (grace 1 s)" in world.said
        assert f"{NS}/a is gone" in world.said

    def test_an_empty_node_needs_one_look(self, world: World) -> None:
        run(world)
        assert world.requests == 1
        assert world.said == []

    def test_accepted_is_not_gone(self, world: World) -> None:
        world.pod(pod("slow"))
        with pytest.raises(ClusterError, match=rf"{NS}/slow \(still terminating\)"):
            run(world, options=DrainOptions(timeout=0.2))

    def test_gpu_mode_leaves_the_others(self, world: World) -> None:
        world.pod(pod("train", gpus=1, grace=0))
        world.pod(pod("web"))
        world.pod(pod("bare", owner=""))
        run(world, "gpu")
        assert not world.has("Pod", "train")
        assert world.has("Pod", "web") and world.has("Pod", "bare")

    def test_mode_none_asks_nothing(self, world: World) -> None:
        run(world, "none")
        assert world.requests == 0

    def test_nothing_is_evicted_while_one_pod_may_not_go(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        world.pod(pod("bare", owner="", grace=0))
        with pytest.raises(ClusterError, match=rf"declare no controller .*: {NS}/bare"):
            run(world)
        assert world.has("Pod", "a")

    def test_the_pod_selector_narrows_what_is_looked_at(self, world: World) -> None:
        world.pod(pod("a", labels=WEB, grace=0))
        world.pod(pod("bare", owner=""))
        run(world, options=DrainOptions(pod_selector="app in (web)", timeout=DEADLINE))
        assert not world.has("Pod", "a") and world.has("Pod", "bare")

    def test_a_bad_pod_selector_is_the_servers_to_refuse(self, world: World) -> None:
        with pytest.raises(RefusalError) as caught:
            run(world, options=DrainOptions(pod_selector="a=(", timeout=DEADLINE))
        assert caught.value.code == 400

    def test_pods_that_arrive_meanwhile_go_as_well(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        late = world.when(f"evicting {NS}/a", lambda: world.pod(pod("late", grace=0)))
        run(world, progress=late)
        assert not world.has("Pod", "late")

    def test_a_pod_of_the_same_name_elsewhere_is_another_pod(self, world: World) -> None:
        """A StatefulSet starts web-0 on another node under the same name: the old one is gone."""
        old = world.pod(pod("web-0"))

        def recreate() -> None:
            world.end(old)
            world.pod(pod("web-0", node=OTHER))

        run(world, progress=world.when(f"evicting {NS}/web-0", recreate))
        assert world.get("Pod", "web-0")["spec"]["nodeName"] == OTHER
        assert "deletionTimestamp" not in world.get("Pod", "web-0")["metadata"]

    def test_an_eviction_whose_answer_is_lost_is_not_done_to_the_successor(
        self, world: World
    ) -> None:
        world.pod(pod("a", grace=0))
        world.fault(kind="lose", path="eviction")
        run(world)
        assert not world.has("Pod", "a")

    def test_finished_pods_go_whatever_their_budget(self, world: World) -> None:
        world.pod(pod("job", owner="", phase="Succeeded", labels=WEB))
        world.budget(minAvailable=1)
        run(world)
        assert not world.has("Pod", "job")

    def test_a_pod_that_is_terminating_already_is_waited_for(self, world: World) -> None:
        world.pod(pod("a"))
        world.delete("Pod", "a", grace=30)
        run(world, progress=world.when("is already terminating", world.kubelet_works))
        assert not any("evicting" in text for text in world.said)

    def test_a_grace_period_of_our_own_is_asked_for(self, world: World) -> None:
        world.pod(pod("a", grace=600))
        run(world, options=DrainOptions(grace_period=0, timeout=DEADLINE))
        assert f"evicting {NS}/a (grace 0 s)" in world.said

    def test_many_pods_cost_one_eviction_each_and_few_looks(self, world: World) -> None:
        for number in range(30):
            world.pod(pod(f"p{number}", grace=0))
        run(world)
        assert world.requests == 30 + 2


class TestBudgets:
    def test_a_budget_holds_and_then_allows(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB, grace=0))
        world.budget(minAvailable=1)
        replace = world.when("must wait", lambda: ready_elsewhere(world, "web-2"))
        run(world, progress=replace)
        assert not world.has("Pod", "web-1")
        held = [text for text in world.said if "must wait" in text]
        assert len(held) == 1, "told once, however often it is asked"
        assert "disruption budget keep needs 1 healthy pods and has 1 currently" in held[0]

    def test_a_budget_that_holds_to_the_end_is_named(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB, grace=0))
        world.pod(pod("other", grace=0))
        world.budget(minAvailable=1)
        with pytest.raises(ClusterError) as caught:
            run(world, options=DrainOptions(timeout=0.3))
        assert f"{NS}/web-1 (The disruption budget keep" in caught.value.message
        assert "other" not in caught.value.message
        assert world.has("Pod", "web-1")

    def test_a_slow_pod_does_not_keep_others_waiting(self, world: World) -> None:
        for number in range(10):
            world.pod(pod(f"web-{number}", labels=WEB, grace=0))
        world.pod(pod("z", grace=0))
        world.budget(minAvailable=10)
        with pytest.raises(ClusterError):
            run(world, options=DrainOptions(timeout=0.5))
        assert not world.has("Pod", "z")

    def test_two_budgets_end_the_drain_and_are_both_named(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB))
        world.budget("one", minAvailable=0)
        world.budget("two", minAvailable=0)
        with pytest.raises(ClusterError, match=f"{NS}/one and {NS}/two both guard it"):
            run(world)

    def test_retry_after_is_waited_for(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        world.fault(code=429, headers={"Retry-After": "1"}, path="eviction")
        began = time.monotonic()
        run(world)
        assert time.monotonic() - began >= 1.0

    def test_a_terminating_namespace_is_waited_for(self, world: World) -> None:
        world.pod(pod("a"))
        refused = json.dumps(recorded("evict-in-terminating-namespace")[1])
        world.fault(code=403, path="eviction", count=None, message=refused)
        remove = world.when("being terminated", lambda: world.delete("Pod", "a"))
        run(world, progress=remove)
        assert f"{NS}/a is gone" in world.said


class TestFailures:
    def test_stop_ends_it_promptly(self, world: World) -> None:
        world.pod(pod("slow"))
        stop = world.when("evicting", world.stop.set)
        with pytest.raises(StoppedError, match=f"{NS}/slow"):
            run(world, progress=stop)

    def test_a_stop_before_the_first_eviction_evicts_nothing(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        world.stop.set()
        with pytest.raises(StoppedError):
            run(world)
        assert world.has("Pod", "a")

    def test_a_server_that_goes_down_for_long_is_an_error(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "PATIENCE", 0.2)
        world.pod(pod("slow"))
        down = world.when("evicting", lambda: world.fault(kind="drop", method="GET", count=None))
        with pytest.raises(SilenceError, match=f"list pods of node {NODE}"):
            run(world, progress=down)
        assert any("the API server does not answer, waiting" in text for text in world.said)

    def test_a_short_silence_is_borne(self, world: World) -> None:
        world.pod(pod("a", grace=0))
        silent = world.when(
            f"evicting {NS}/a", lambda: world.fault(kind="drop", method="GET", count=10)
        )
        run(world, progress=silent)
        assert not world.has("Pod", "a")

    def test_who_may_not_evict_is_told(self, world: World, reader: Path) -> None:
        world.pod(pod("a", grace=0))
        with pytest.raises(ClusterError, match="pods/eviction"):
            drain(Snapshot(Cluster(reader)), NODE, OPTIONS, "full", world.progress, world.stop)


class TestPreview:
    def test_it_says_who_would_go_and_changes_nothing(self, world: World) -> None:
        world.pod(pod("a", grace=45))
        world.pod(pod("b", grace=5, empty_dir=True))
        found = look(world, options=DrainOptions(delete_emptydir_data=True))
        assert [each.name for each in found.evict] == ["a", "b"]
        assert found.grace == 45.0
        assert found.warnings == (f"deleting Pods with local storage: {NS}/b",)
        assert not found.blocked and not found.waits
        assert world.written == []

    def test_what_the_options_forbid_blocks(self, world: World) -> None:
        world.pod(pod("bare", owner=""))
        found = look(world)
        assert found.blocked == (
            f"cannot delete Pods that declare no controller (use --force to override): {NS}/bare",
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
        world.replicas("web", pod("web-1", labels=WEB))
        world.budget(**spec)
        found = look(world)
        assert found.blocked == (
            f"{NS}/web-1: PodDisruptionBudget {NS}/keep: never allows an eviction: {why}",
        )

    def test_a_budget_that_holds_now_is_waited_for(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB))
        unready = pod("web-2", node=OTHER, labels=WEB)
        unready["status"]["conditions"] = []
        world.pod(unready)
        world.budget(minAvailable=1)
        found = look(world)
        assert not found.blocked
        assert found.waits == (
            f"{NS}/web-1: PodDisruptionBudget {NS}/keep:"
            " The disruption budget keep needs 1 healthy pods and has 1 currently",
        )

    def test_a_budget_that_lets_them_go_one_by_one_is_told(self, world: World) -> None:
        for number in range(3):
            world.pod(pod(f"web-{number}", labels=WEB))
        world.budget(minAvailable=2)
        found = look(world)
        assert not found.blocked
        assert "allows 1 of the 3 pods here to go" in found.waits[0]

    def test_two_budgets_block(self, world: World) -> None:
        world.pod(pod("web-1", labels=WEB))
        world.budget("one", minAvailable=0)
        world.budget("two", minAvailable=0)
        (reason,) = look(world).blocked
        assert f"{NS}/one and {NS}/two both guard it" in reason

    def test_who_may_not_evict_is_told_before(self, world: World, reader: Path) -> None:
        world.pod(pod("a"))
        snapshot = Snapshot(Cluster(reader), [NODE])
        found = preview(snapshot, snapshot.nodes()[NODE], OPTIONS, "full")
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


def held(item: dict[str, Any]) -> dict[str, str]:
    """What was seen on the node: a process of this pod has a GPU open."""
    return {item["metadata"]["uid"]: "python (pid 7) holds /dev/nvidia0"}


class TestGpuUsers:
    """Who uses a GPU is not only who asks for one by resource."""

    def test_a_pod_whose_process_holds_a_device_is_evicted(self, world: World) -> None:
        holders = held(world.pod(pod("privileged", grace=0)))
        world.pod(pod("web"))
        found = look(world, "gpu", holders=holders)
        assert [each.name for each in found.evict] == ["privileged"]
        assert found.warnings == (
            f"{NS}/privileged asks for no GPU but uses one: its process python (pid 7) holds"
            " /dev/nvidia0",
        )
        run(world, "gpu", holders=holders)
        assert not world.has("Pod", "privileged")
        assert world.has("Pod", "web")

    def test_it_obeys_the_filters_like_any_other(self, world: World) -> None:
        holders = held(world.pod(pod("bare", owner="")))
        (reason,) = look(world, "gpu", holders=holders).blocked
        assert reason == (
            f"cannot delete Pods that declare no controller (use --force to override): {NS}/bare"
        )

    def test_a_daemon_that_stays_and_holds_a_device_is_named(self, world: World) -> None:
        world.daemonset("monitor")
        stays = world.daemon_pod("monitor")
        found = look(world, "gpu", holders=held(stays))
        assert found.evict == ()
        assert found.warnings == (
            f"{NS}/{stays['metadata']['name']} stays although its process python (pid 7) holds"
            " /dev/nvidia0: keep its DaemonSet monitor off the node meanwhile",
        )

    def test_one_that_the_operator_takes_away_is_not(self, world: World) -> None:
        deployed = {"nvidia.com/gpu.deploy.dcgm-exporter": "true"}
        world.change("Node", NODE, metadata={"labels": deployed})
        world.daemonset("exporter", deployed)
        holders = held(world.daemon_pod("exporter"))
        assert look(world, "gpu", holders=holders).warnings == ()

    def test_a_static_pod_is_known_by_its_digest(self, world: World) -> None:
        item = pod(f"static-{NODE}", mirror=True)
        item["metadata"]["annotations"]["kubernetes.io/config.hash"] = "0f" * 16
        world.pod(item)
        digest = {"0f" * 16: "python (pid 7) holds /dev/nvidia0"}
        (warning,) = look(world, "gpu", holders=digest).warnings
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
        init = {
            "name": "i",
            "image": "x:1",
            "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}},
        }
        world.pod(pod("train", initContainers=[init]))
        world.pod(pod("web"))
        assert [each.name for each in look(world, "gpu").evict] == ["train"]


class TestResourceClaims:
    @pytest.fixture(autouse=True)
    def _served(self, world: World) -> None:
        """Only an old cluster of somebody's own lacks them: the lab's API does not."""
        try:
            world.found("ResourceClaim")
        except UnservedError:
            pytest.skip(
                "allowed: this cluster does not serve resource.k8s.io/v1 (1.34 and later do)"
            )

    def claim(self, world: World, name: str, driver: str) -> None:
        request = {"name": "r", "exactly": {"deviceClassName": driver}}
        spec = {"devices": {"requests": [request]}}
        world.create("ResourceClaim", {"metadata": {"name": name}, "spec": spec})
        result = {"driver": driver, "device": "gpu-0", "pool": NODE, "request": "r"}
        status = {"allocation": {"devices": {"results": [result]}}}
        world.change("ResourceClaim", name, status=status)

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
        assert found.warnings[0] == f"{NS}/direct asks for no GPU but uses one: a resource claim"
        run(world, "gpu")
        assert world.has("Pod", "network")
        assert not world.has("Pod", "direct")

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
        names = [world.node(number)["metadata"]["name"] for number in range(10, 30)]
        for name in names:
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
        assert world.requests == 3 + 1

    def test_pods_that_differ_are_asked_about_each(self, world: World) -> None:
        for number in range(3):
            world.pod(pod(f"web-{number}", labels=WEB))
            world.pod(pod(f"free-{number}"))
            world.pod(pod(f"other-{number}", owner_name="other"))
        world.budget(minAvailable=3)
        late = pod("late", labels=WEB, phase="Pending")
        world.pod(late)
        assert len(look(world).evict) == 10
        # Nodes, pods, budgets, and once more; guarded, pending, free, those of the other owner.
        assert world.requests == 4 + 4

    def test_what_one_pod_is_told_holds_for_those_alike(self, world: World) -> None:
        world.replicas("web", *(pod(f"web-{number}", labels=WEB) for number in range(3)))
        world.budget(maxUnavailable=0)
        assert len(look(world).blocked) == 3

    def test_drains_at_the_same_time_share_lists(self, world: World) -> None:
        names = [world.node(number)["metadata"]["name"] for number in range(10, 26)]
        for name in names:
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
        assert not any(world.has("Pod", f"web-{name}") for name in names)
        # By itself, each would be listed twice at least: before and after its pod goes.
        assert len(asked) < 2 * len(names)
