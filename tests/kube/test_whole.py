"""One node from in service to in service, among controllers and a kubelet that work."""

from __future__ import annotations

from datetime import UTC, datetime

from runner.kube.drain import drain
from runner.kube.lock import NodeLock
from runner.kube.maintenance import begin, end, pause_daemonsets, resume_daemonsets
from runner.kube.preview import preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions, NodeState, RestartDaemonSetPod, WaitAllocatable
from tests.kube.names import NODE, NS
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World

OPTIONS = DrainOptions(timeout=DEADLINE)
DEPLOYED = {"nvidia.com/gpu.deploy.device-plugin": "true"}


def read(world: World) -> NodeState:
    return world.cluster.read_nodes([NODE])[NODE]


def names(state: NodeState) -> set[str]:
    return {each.owner_name for each in state.pods}


def test_a_node_is_emptied_of_gpu_users_and_given_back(world: World) -> None:
    world.removes("Lease", f"gpurun-{NODE}", "kube-system")
    world.node(labels=DEPLOYED)
    world.daemonset("plugin", DEPLOYED)
    world.daemonset("other")
    for name in ("plugin", "other"):
        world.daemon_pod(name)
    world.pod(pod("train", gpus=2, owner_name="training"))
    world.pod(pod("web", owner_name="web"))
    world.kubelet()
    cluster, stop, told = world.cluster, world.stop, world.progress
    before, since = read(world), datetime.now(UTC)
    expected = preview(Snapshot(cluster, [NODE]), before, OPTIONS, "gpu")
    assert [each.name for each in expected.evict] == ["train"] and not expected.blocked

    with NodeLock(cluster, NODE, "run-1", "me@here 1 run-1") as lock:
        assert begin(cluster, NODE, "run-1").ours
        drain(Snapshot(cluster), NODE, OPTIONS, "gpu", told, stop)
        assert pause_daemonsets(cluster, NODE, "run-1", told, stop) == (f"{NS}/plugin",)
        assert names(read(world)) == {"other", "web"}
        resume_daemonsets(cluster, NODE, "run-1", told, stop)
        for action in (
            RestartDaemonSetPod(NS, "plugin", DEADLINE),
            WaitAllocatable("nvidia.com/gpu", 8, DEADLINE),
        ):
            cluster.perform(NODE, action, since=since, progress=told, stop=stop)
        assert end(cluster, NODE, "run-1") == f"node {NODE} uncordoned"
        assert not lock.lost.is_set()

    after = read(world)
    assert not after.unschedulable and names(after) == {"plugin", "other", "web"}
    assert after.labels == before.labels
