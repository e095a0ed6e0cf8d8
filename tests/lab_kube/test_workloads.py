"""Controllers, scheduler and kubelets: what happens to pods when nodes are worked on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.lab import gpu
from runner.lab.gpu.state import read
from runner.lab.kube import LabCluster, SimulatedNode, seed
from runner.lab.kube.deletion import DeleteOptions, delete, evict
from runner.lab.kube.failures import ApiFailure
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.kubelet import TERMINATION
from runner.lab.kube.nodes import GPU

POD = KIND["Pod"]
PLUGIN_LABEL = "nvidia.com/gpu.deploy.device-plugin"


def cordon(cluster: LabCluster, node: str, cordoned: bool = True) -> None:
    cluster.edit("Node", node, lambda item: {**item, "spec": {"unschedulable": cordoned}})


def label(cluster: LabCluster, node: str, key: str, value: str) -> None:
    def change(item: Json) -> Json:
        labels = {**item["metadata"]["labels"], key: value}
        return {**item, "metadata": {**item["metadata"], "labels": labels}}

    cluster.edit("Node", node, change)


def pods(cluster: LabCluster, app: str) -> Sequence[Json]:
    return [pod for pod in cluster.list("Pod") if pod["metadata"]["labels"].get("app") == app]


def places(cluster: LabCluster, app: str) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in pods(cluster, app))


def allocatable(cluster: LabCluster, node: str) -> str:
    item = cluster.get("Node", node)
    assert item
    return str(item["status"]["allocatable"][GPU])


def plugin_pod(cluster: LabCluster, node: str) -> Json:
    [pod] = [
        pod
        for pod in cluster.pods_on(node)
        if pod["metadata"]["labels"].get("app") == seed.DEVICE_PLUGIN
    ]
    return pod


def test_gpu_pods_spread_and_an_evicted_one_comes_back_elsewhere(cluster: LabCluster) -> None:
    cluster.create(seed.deployment("trainer", 3, gpus=1))
    cluster.settle()
    assert places(cluster, "trainer") == ["gpu1", "gpu2", "gpu3"]
    cordon(cluster, "gpu1")
    [here] = cluster.pods_on("gpu1")
    evict(cluster.store, here, DeleteOptions())
    cluster.settle()
    assert not cluster.pods_on("gpu1")
    assert len(pods(cluster, "trainer")) == 3


def test_a_cordoned_node_carries_the_taint(cluster: LabCluster) -> None:
    cordon(cluster, "gpu1")
    cluster.settle()
    node = cluster.get("Node", "gpu1")
    assert node
    assert [taint["key"] for taint in node["spec"]["taints"]] == [
        "node.kubernetes.io/unschedulable"
    ]
    cordon(cluster, "gpu1", cordoned=False)
    cluster.settle()
    node = cluster.get("Node", "gpu1")
    assert node
    assert "taints" not in node["spec"]


def test_a_gpu_pod_waits_while_no_gpu_is_free(cluster: LabCluster) -> None:
    cluster.create(seed.deployment("trainer", 7, gpus=1))
    cluster.settle()
    [waiting] = [pod for pod in pods(cluster, "trainer") if "nodeName" not in pod["spec"]]
    assert waiting["status"]["phase"] == "Pending"
    reasons = [entry.get("reason") for entry in waiting["status"]["conditions"]]
    assert reasons == ["Unschedulable"]
    evict(cluster.store, cluster.pods_on("gpu2")[0], DeleteOptions())
    cluster.settle()
    assert len([pod for pod in pods(cluster, "trainer") if "nodeName" in pod["spec"]]) == 6


def test_a_budget_lets_one_pod_go_at_a_time(cluster: LabCluster) -> None:
    cluster.create(seed.deployment("trainer", 3, gpus=1))
    cluster.create(seed.budget("trainer", 2))
    cluster.settle()
    cluster.set_answering("gpu1", False)
    first, second = cluster.pods_on("gpu2")[0], cluster.pods_on("gpu3")[0]
    with pytest.raises(ApiFailure, match="would violate the pod's disruption budget"):
        evict(cluster.store, first, DeleteOptions())
    cluster.set_answering("gpu1", True)
    nodes = ("gpu1", "gpu2", "gpu3")
    for node in nodes:
        cordon(cluster, node)
    cluster.settle()
    evict(cluster.store, first, DeleteOptions())
    with pytest.raises(ApiFailure, match="would violate the pod's disruption budget"):
        evict(cluster.store, second, DeleteOptions(dry_run=True))
    for node in nodes:
        cordon(cluster, node, cordoned=False)
    cluster.settle()
    evict(cluster.store, second, DeleteOptions())


def test_percentages_of_a_budget_count_the_wanted_replicas(cluster: LabCluster) -> None:
    cluster.create(seed.deployment("web", 4))
    budget = seed.budget("web", 0)
    budget["spec"] = {"maxUnavailable": "25%", "selector": budget["spec"]["selector"]}
    cluster.create(budget)
    cluster.settle()
    stored = cluster.get("PodDisruptionBudget", "web")
    assert stored
    numbers = {key: stored["status"][key] for key in ("disruptionsAllowed", "desiredHealthy")}
    assert numbers == {"disruptionsAllowed": 1, "desiredHealthy": 3}


def test_a_pod_may_take_its_time_to_end(cluster: LabCluster) -> None:
    pod = {
        "kind": "Pod",
        "metadata": {"name": "slow", "annotations": {TERMINATION: "3600"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    cluster.create(pod)
    cluster.settle()
    running = cluster.get("Pod", "slow")
    assert running
    evict(cluster.store, running, DeleteOptions())
    cluster.settle()
    ending = cluster.get("Pod", "slow")
    assert ending
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
    delete(cluster.store, POD, ending, DeleteOptions(grace=0))
    assert cluster.get("Pod", "slow") is None


def test_nothing_ends_on_a_node_that_does_not_answer(cluster: LabCluster) -> None:
    cluster.create(seed.deployment("web", 3))
    cluster.settle()
    cluster.set_answering("gpu1", False)
    node = cluster.get("Node", "gpu1")
    assert node
    assert node["status"]["conditions"][0]["status"] == "Unknown"
    [pod] = cluster.pods_on("gpu1")
    evict(cluster.store, pod, DeleteOptions())
    cluster.settle()
    [stuck] = cluster.pods_on("gpu1")
    assert "deletionTimestamp" in stuck["metadata"]
    cluster.set_answering("gpu1", True)
    cluster.settle()
    assert stuck["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in cluster.list("Pod")}


def test_a_daemon_set_follows_the_node_label() -> None:
    nodes = [SimulatedNode("gpu1", count=2), SimulatedNode("cpu1", count=0)]
    with LabCluster(nodes, workloads=True) as cluster:
        cluster.settle()
        assert places(cluster, seed.DEVICE_PLUGIN) == ["gpu1"]
        assert places(cluster, "kube-proxy") == ["cpu1", "gpu1"]
        label(cluster, "gpu1", PLUGIN_LABEL, "paused-for-mig-change")
        cluster.settle()
        assert places(cluster, seed.DEVICE_PLUGIN) == []
        assert allocatable(cluster, "gpu1") == "0"
        label(cluster, "gpu1", PLUGIN_LABEL, "true")
        cluster.settle()
        assert places(cluster, seed.DEVICE_PLUGIN) == ["gpu1"]
        assert allocatable(cluster, "gpu1") == "2"


def test_daemon_pods_run_on_a_cordoned_node_too() -> None:
    with LabCluster([SimulatedNode("gpu1", count=1)], workloads=True) as cluster:
        cluster.settle()
        before = plugin_pod(cluster, "gpu1")
        cordon(cluster, "gpu1")
        delete(cluster.store, POD, before, DeleteOptions())
        cluster.settle()
        after = plugin_pod(cluster, "gpu1")
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert after["status"]["phase"] == "Running"


def test_daemon_pods_of_a_lost_node_stay() -> None:
    with LabCluster([SimulatedNode("gpu1", count=1)], workloads=True) as cluster:
        cluster.settle()
        before = {pod["metadata"]["uid"] for pod in cluster.pods_on("gpu1")}
        cluster.set_answering("gpu1", False)
        cluster.settle()
        assert not [pod for pod in cluster.list("Pod") if "deletionTimestamp" in pod["metadata"]]
        cluster.set_answering("gpu1", True)
        cluster.settle()
        assert {pod["metadata"]["uid"] for pod in cluster.pods_on("gpu1")} == before


def test_a_changed_template_replaces_the_pods_of_a_daemon_set(cluster: LabCluster) -> None:
    cluster.create(seed.daemon_set("agent", "registry.example/agent:1", {}))
    cluster.settle()

    def change(item: Json) -> Json:
        template = item["spec"]["template"]
        metadata = {**template["metadata"], "annotations": {"restartedAt": "now"}}
        spec = {**item["spec"], "template": {**template, "metadata": metadata}}
        return {**item, "spec": spec}

    before = {pod["metadata"]["uid"] for pod in pods(cluster, "agent")}
    cluster.edit("DaemonSet", "agent", change, "kube-system")
    cluster.settle()
    after = {pod["metadata"]["uid"] for pod in pods(cluster, "agent")}
    assert len(after) == 3
    assert not before & after
    daemon_set = cluster.get("DaemonSet", "agent", "kube-system")
    assert daemon_set
    assert daemon_set["status"]["numberReady"] == 3


def test_a_job_ends_and_its_pod_stays(cluster: LabCluster) -> None:
    cluster.create(seed.job("report", seconds=0))
    cluster.settle()
    job = cluster.get("Job", "report")
    assert job
    assert job["status"]["succeeded"] == 1
    [pod] = cluster.list("Pod")
    assert pod["status"]["phase"] == "Succeeded"


def test_a_deleted_namespace_takes_its_content_along(cluster: LabCluster) -> None:
    cluster.create({"kind": "Namespace", "metadata": {"name": "team"}})
    cluster.create(seed.deployment("web", 2, namespace="team"))
    cluster.settle()
    namespace = cluster.get("Namespace", "team")
    assert namespace
    delete(cluster.store, KIND["Namespace"], namespace, DeleteOptions())
    cluster.settle()
    assert cluster.get("Namespace", "team") is None
    assert not cluster.list("Pod", "team")


def test_a_deleted_deployment_takes_its_pods_along(cluster: LabCluster) -> None:
    made = cluster.create(seed.deployment("web", 2))
    cluster.settle()
    delete(cluster.store, KIND["Deployment"], made, DeleteOptions())
    cluster.settle()
    assert not cluster.list("Pod")
    assert not cluster.list("ReplicaSet")


def test_the_seeded_gpu_pods_fit_beside_a_drained_node() -> None:
    nodes = [SimulatedNode(f"gpu{number}", count=1) for number in (1, 2, 3, 4)]
    with LabCluster(nodes, workloads=True) as cluster:
        cluster.settle()
        for node in nodes:
            cordon(cluster, node.name)
            for pod in cluster.pods_on(node.name):
                if pod["metadata"]["labels"].get("app") in ("trainer", "inference"):
                    evict(cluster.store, pod, DeleteOptions())
            cluster.settle()
            waiting = [pod for pod in cluster.list("Pod") if pod["status"]["phase"] == "Pending"]
            assert not waiting
            cordon(cluster, node.name, cordoned=False)
            cluster.settle()


class TestWithSimulatedGpus:
    """The cluster over a node whose GPUs are simulated in a folder."""

    @pytest.fixture
    def node(self, tmp_path: Path) -> SimulatedNode:
        root = tmp_path / "gpu1"
        gpu.create(root, "A100-40", 2, "550.90.07")
        return SimulatedNode("gpu1", root=str(root), model="A100-40", count=2)

    def clients(self, node: SimulatedNode) -> set[str]:
        return set(read(Path(node.root))["clients"])

    def test_gpu_plugin_and_exporter_pods_hold_gpus(self, node: SimulatedNode) -> None:
        with LabCluster([node], workloads=True) as cluster:
            cluster.create(seed.deployment("gpu-job", 1, gpus=1))
            cluster.settle()
            holding = {seed.DEVICE_PLUGIN, seed.EXPORTER, "gpu-job"}
            uids = {
                pod["metadata"]["uid"]
                for pod in cluster.pods_on("gpu1")
                if pod["metadata"]["labels"].get("app") in holding
            }
            assert len(uids) == 3
            assert self.clients(node) == uids

    def test_a_pod_that_is_gone_holds_none(self, node: SimulatedNode) -> None:
        with LabCluster([node]) as cluster:
            cluster.create(seed.deployment("gpu-job", 1, gpus=1))
            cluster.settle()
            cordon(cluster, "gpu1")
            [pod] = cluster.pods_on("gpu1")
            evict(cluster.store, pod, DeleteOptions())
            cluster.settle()
            assert self.clients(node) == set()

    def test_a_forced_deletion_frees_the_gpu_too(self, node: SimulatedNode) -> None:
        with LabCluster([node]) as cluster:
            cluster.create(seed.deployment("gpu-job", 1, gpus=1))
            cluster.settle()
            cordon(cluster, "gpu1")
            [pod] = cluster.pods_on("gpu1")
            delete(cluster.store, POD, pod, DeleteOptions(grace=0))
            cluster.settle()
            assert self.clients(node) == set()

    def test_allocatable_is_stale_until_the_plugin_restarts(self, node: SimulatedNode) -> None:
        from runner.lab.gpu.commands import run

        with LabCluster([node], workloads=True) as cluster:
            cluster.settle()
            root = Path(node.root)
            for uid in self.clients(node):
                gpu.remove_client(root, uid)
            for arguments in (["-mig", "1"], ["--gpu-reset"], ["mig", "-cgi", "19,19,19", "-C"]):
                run("nvidia-smi", arguments, root)
            assert gpu.allocatable(root, "single") == {GPU: 6}
            assert allocatable(cluster, "gpu1") == "2"
            delete(cluster.store, POD, plugin_pod(cluster, "gpu1"), DeleteOptions())
            cluster.settle()
            assert allocatable(cluster, "gpu1") == "6"

    def test_after_a_boot_pods_hold_their_gpus_again_once_the_kubelet_runs(
        self, node: SimulatedNode
    ) -> None:
        from runner.lab.gpu.kernel import boot, kubelet

        with LabCluster([node], workloads=True) as cluster:
            cluster.settle()
            before = self.clients(node)
            boot([], Path(node.root))
            cluster.probe()
            cluster.settle()
            assert self.clients(node) == set()
            kubelet([], Path(node.root))
            cluster.probe()
            cluster.settle()
            assert self.clients(node) == before
