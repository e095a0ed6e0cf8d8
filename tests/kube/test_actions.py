"""What tasks ask of the cluster is done when it is seen done."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from runner.errors import ClusterError
from runner.kube.api import RefusalError
from runner.kube.state import (
    ClusterAction,
    EvictPods,
    NodesQuery,
    RestartDaemonSetPod,
    SetLabels,
    SetTaint,
    WaitAllocatable,
)
from runner.kube.waiting import StoppedError
from tests.kube.names import NODE, NS, OTHER, node_name
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World, labels_of

GPU = "nvidia.com/gpu"
LATER = -5.0
"""The change begins later than whatever there is was made."""


def do(world: World, action: ClusterAction, progress: Any = None, ago: float = 60.0) -> None:
    since = datetime.now(UTC) - timedelta(seconds=ago)
    told = progress or world.progress
    world.cluster.perform(NODE, action, since=since, progress=told, stop=world.stop)


def offer(world: World, number: int) -> None:
    offered = {GPU: str(number)}
    world.change("Node", NODE, status={"capacity": offered, "allocatable": offered})


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node()


class TestEvictPods:
    def test_those_named_go_and_the_others_stay(self, world: World) -> None:
        first = world.pod(pod("a"))["metadata"]["uid"]
        world.pod(pod("b"))
        world.kubelet()
        do(world, EvictPods((first, "gone-before")))
        assert not world.has("Pod", "a") and world.has("Pod", "b")
        do(world, EvictPods((first,)))

    def test_a_pod_that_may_not_go_is_named(self, world: World) -> None:
        uid = world.pod(pod("a", owner=""))["metadata"]["uid"]
        with pytest.raises(ClusterError, match=rf"pods could not be evicted: .*{NS}/a"):
            do(world, EvictPods((uid,)))


class TestReadNodes:
    def test_all_nodes_without_their_pods(self, world: World) -> None:
        world.node(2)
        world.pod(pod("a"))
        found = world.cluster.look(NodesQuery())
        assert isinstance(found, tuple)
        ours = [(node.name, node.pods) for node in found if node.name in (NODE, OTHER)]
        assert ours == [(NODE, ()), (OTHER, ())]

    def test_nodes_with_their_pods_in_two_requests(self, world: World) -> None:
        world.node(2)
        world.pod(pod("b", gpus=2))
        world.pod(pod("a"))
        world.pod(pod("elsewhere", node=node_name(3)))
        found = world.cluster.read_nodes([OTHER, "missing", NODE])
        assert list(found) == [OTHER, NODE]
        assert [each.name for each in found[NODE].pods] == ["a", "b"]
        assert found[NODE].pods[1].gpu_requests == {GPU: 2}
        assert found[OTHER].pods == ()
        assert world.requests == 2

    @pytest.mark.parametrize("name", ["", "../pods", "gpu-1?x=y", "a,b=c", "GPU-1", "gpu-1\n"])
    def test_what_cannot_be_a_node_is_not_asked_for(self, world: World, name: str) -> None:
        assert world.cluster.read_nodes([name]) == {}
        assert world.requests == 0

    def test_threads_may_share_a_cluster(self, world: World) -> None:
        found: list[int] = []
        together = threading.Barrier(8)

        def read() -> None:
            together.wait(DEADLINE)
            found.append(len(world.cluster.read_nodes([NODE])))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert found == [1] * 8


class TestLabels:
    def test_set_and_removed(self, world: World) -> None:
        before = labels_of(world.change("Node", NODE, metadata={"labels": {"old": "1"}}))
        do(world, SetLabels({"old": None, "new": "3"}))
        kept = {key: value for key, value in before.items() if key != "old"}
        assert labels_of(world.get("Node", NODE)) == {**kept, "new": "3"}

    def test_a_label_the_api_refuses(self, world: World) -> None:
        with pytest.raises(RefusalError) as caught:
            do(world, SetLabels({"a b": "c"}))
        assert caught.value.code == 422


class TestTaint:
    OTHER: ClassVar = {
        "key": "other",
        "effect": "NoExecute",
        "timeAdded": "2026-01-01T00:00:00Z",
    }

    def taints(self, world: World) -> list[dict[str, str]]:
        return list(world.get("Node", NODE)["spec"].get("taints", []))

    def test_set_replaced_and_removed_beside_others(self, world: World) -> None:
        world.change("Node", NODE, spec={"taints": [self.OTHER]})
        do(world, SetTaint("repair", "NoSchedule"))
        do(world, SetTaint("repair", "NoSchedule", "ecc"))
        set_ = {"key": "repair", "effect": "NoSchedule", "value": "ecc"}
        assert self.taints(world) == [self.OTHER, set_]
        do(world, SetTaint("repair", "", present=False))
        assert self.taints(world) == [self.OTHER]

    def test_again_when_the_node_changed_meanwhile(self, world: World) -> None:
        world.fault(code=409, method="PATCH")
        do(world, SetTaint("repair", "NoSchedule"))
        assert self.taints(world) == [{"key": "repair", "effect": "NoSchedule"}]


class TestWaitAllocatable:
    def wait(self, number: int, timeout: float = DEADLINE) -> WaitAllocatable:
        return WaitAllocatable(GPU, number, timeout)

    def test_what_is_there_is_seen_twice(self, world: World) -> None:
        do(world, self.wait(8))
        assert world.requests >= 2

    def test_it_waits_for_the_plugin(self, world: World) -> None:
        do(world, self.wait(7), world.when("8 so far", lambda: offer(world, 7)))

    def test_one_reading_that_does_not_last_is_not_enough(self, world: World) -> None:
        """The number of before the restart may be read once more before the plugin is gone."""
        told: list[str] = []

        def progress(text: str) -> None:
            told.append(text)
            if "seen once" in text and told.count(text) == 1 and len(told) == 1:
                offer(world, 0)
            elif "0 so far" in text:
                offer(world, 8)

        do(world, self.wait(8), progress)
        assert [text.rpartition(": ")[2] for text in told] == [
            "8 seen once, looking again",
            "0 so far",
            "8 seen once, looking again",
        ]

    def test_never_is_told_with_the_last_reading(self, world: World) -> None:
        with pytest.raises(ClusterError, match=r"waiting for 7 allocatable .*: 8 so far"):
            do(world, self.wait(7, timeout=0.1))

    def test_a_resource_the_node_does_not_name_counts_as_zero(self, world: World) -> None:
        do(world, WaitAllocatable("nvidia.com/mig-1g.10gb", 0, DEADLINE))

    def test_stop(self, world: World) -> None:
        with pytest.raises(StoppedError):
            do(world, self.wait(7), world.when("so far", world.stop.set))


class TestRestartDaemonSetPod:
    ACTION = RestartDaemonSetPod(NS, "plugin", DEADLINE)

    @pytest.fixture(autouse=True)
    def plugin(self, world: World) -> str:
        """Name of the pod of the DaemonSet on the node."""
        world.daemonset("plugin")
        return str(world.daemon_pod("plugin")["metadata"]["name"])

    def test_the_old_pod_is_deleted_and_a_ready_one_awaited(
        self, world: World, plugin: str
    ) -> None:
        world.kubelet()
        do(world, self.ACTION, ago=LATER)
        assert not world.has("Pod", plugin)
        (new,) = world.cluster.pods_on(NODE)
        assert new.state.ready and new.state.owner_name == "plugin"

    def test_a_pod_created_since_counts_as_restarted(self, world: World, plugin: str) -> None:
        do(world, self.ACTION, ago=60)
        assert world.has("Pod", plugin)
        assert world.said == []

    def test_a_fresh_pod_that_is_not_ready_is_awaited(self, world: World, plugin: str) -> None:
        world.daemon_pod("plugin", ready=False)
        become_ready = world.when("is not Ready", lambda: world.daemon_pod("plugin"))
        do(world, self.ACTION, become_ready, ago=60)
        assert world.has("Pod", plugin)

    def test_the_servers_clock_decides_what_is_old(self, world: World, plugin: str) -> None:
        """A pod of before the run is not new because our clock is a minute slow."""
        world.proxy.ahead = 60
        world.cluster.node(NODE)
        world.kubelet()
        do(world, self.ACTION, ago=5)
        assert not world.has("Pod", plugin)

    def test_no_new_pod_in_time_is_told(self, world: World, plugin: str) -> None:
        with pytest.raises(ClusterError, match="still terminating"):
            do(world, RestartDaemonSetPod(NS, "plugin", 0.1), ago=LATER)
        # Its successor finds the node taken, so that none comes.
        kept_off = {"key": "example.com/kept-off", "effect": "NoSchedule"}
        world.change("Node", NODE, spec={"taints": [kept_off]})
        world.kubelet_works()
        world.until(lambda: not world.has("Pod", plugin), "the pod is gone")
        with pytest.raises(ClusterError, match="no new pod yet"):
            do(world, RestartDaemonSetPod(NS, "plugin", 0.1), ago=LATER)

    def test_a_deletion_whose_answer_is_lost_is_done_once(self, world: World) -> None:
        world.fault(kind="lose", method="DELETE")
        world.kubelet()
        do(world, self.ACTION, ago=LATER)
        assert len(world.cluster.pods_on(NODE)) == 1

    def test_a_missing_daemonset(self, world: World) -> None:
        with pytest.raises(RefusalError, match="not found") as caught:
            do(world, RestartDaemonSetPod(NS, "none"))
        assert "get daemonsets" in caught.value.hint
