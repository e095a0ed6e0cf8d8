"""One node from in service to in service, among the lab's own scheduler, kubelets and workloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from runner.kube.cluster import Cluster
from runner.kube.drain import drain
from runner.kube.lock import NodeLock
from runner.kube.maintenance import begin, end, pause_daemonsets, resume_daemonsets
from runner.kube.preview import preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions, NodeState, RestartDaemonSetPod, WaitAllocatable
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.seed import DEVICE_PLUGIN
from tests.kube.world import DEADLINE

OPTIONS = DrainOptions(timeout=DEADLINE)


@pytest.fixture
def lab(quick: None) -> Iterator[LabCluster]:
    with LabCluster(nodes=["gpu1", "gpu2", "gpu3"], workloads=True) as lab:
        lab.settle()
        yield lab


def read(cluster: Cluster, name: str) -> NodeState:
    return cluster.read_nodes([name])[name]


def gpu_pods(state: NodeState) -> list[str]:
    return [pod.full_name for pod in state.pods if pod.gpu_requests]


def busy(cluster: Cluster) -> str:
    """A node with GPU pods on it."""
    nodes = cluster.read_nodes(["gpu1", "gpu2", "gpu3"])
    return next(name for name, state in nodes.items() if gpu_pods(state))


def test_a_node_is_emptied_of_gpu_users_and_given_back(lab: LabCluster) -> None:
    cluster = Cluster(lab.kubeconfig)
    said: list[str] = []
    stop = threading.Event()
    node = busy(cluster)
    before = read(cluster, node)
    since = datetime.now(UTC)
    expected = preview(Snapshot(cluster, [node]), before, OPTIONS, "gpu")
    assert [pod.full_name for pod in expected.evict] == gpu_pods(before)
    assert not expected.blocked

    with NodeLock(cluster, node, "run-1", "me@here 1 run-1") as lock:
        assert begin(cluster, node, "run-1").ours
        drain(Snapshot(cluster), node, OPTIONS, "gpu", said.append, stop)
        paused = pause_daemonsets(cluster, node, "run-1", said.append, stop)
        empty = read(cluster, node)
        assert gpu_pods(empty) == []
        assert f"kube-system/{DEVICE_PLUGIN}" in paused
        assert {pod.owner_name for pod in empty.pods if pod.owner_kind == "DaemonSet"} == {
            "kube-proxy"
        }
        resume_daemonsets(cluster, node, "run-1", said.append, stop)
        restart = RestartDaemonSetPod("kube-system", DEVICE_PLUGIN, DEADLINE)
        cluster.perform(node, restart, since=since, progress=said.append, stop=stop)
        wanted = WaitAllocatable("nvidia.com/gpu", 8, DEADLINE)
        cluster.perform(node, wanted, since=since, progress=said.append, stop=stop)
        assert end(cluster, node, "run-1") == f"node {node} uncordoned"
        assert not lock.lost.is_set()

    after = read(cluster, node)
    assert not after.unschedulable
    assert (after.labels, after.annotations) == (before.labels, before.annotations)
    lab.settle()
    moved = [pod for pod in lab.list("Pod", "default") if pod["status"]["phase"] == "Pending"]
    assert moved == [], "everything evicted runs elsewhere"


def test_a_full_drain_leaves_only_daemonsets(lab: LabCluster) -> None:
    cluster = Cluster(lab.kubeconfig)
    node = busy(cluster)
    begin(cluster, node, "run-1")
    drain(Snapshot(cluster), node, OPTIONS, "full", lambda _: None, threading.Event())
    assert {pod.owner_kind for pod in read(cluster, node).pods} == {"DaemonSet"}
