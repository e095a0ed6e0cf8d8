"""The playbooks that live in the cluster, on nodes that are real but for their GPUs."""

from __future__ import annotations

from shlex import quote

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, until

pytestmark = pytest.mark.lab

PLUGIN = "nvidia-device-plugin-daemonset"
DAEMONSETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
NODES = {"gpu-a1": 2, "gpu-a2": 1, "gpu-h1": 2, "gpu-t1": 1}


def applied(program: Program, playbook: str, *more: str) -> list[str]:
    """Summaries of what an apply changed; it has to succeed."""
    code, told = program.json("apply", f"playbooks/{playbook}.yaml", "--yes", *more)
    assert code == 0, [host["reason"] for host in told["hosts"]]
    return [change["summary"] for change in told["changes"]]


def offers(cluster: Cluster) -> dict[str, int]:
    return {name: cluster.allocatable(name) for name in NODES}


def test_the_plugin_from_nothing_and_its_life(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    cluster.delete(f"{DAEMONSETS}/{PLUGIN}")
    until(lambda: set(offers(cluster).values()) == {0}, "no node offers a GPU")
    assert applied(program, "device-plugin-deploy")
    assert offers(cluster) == NODES
    assert applied(program, "device-plugin-deploy") == []

    pods = {name: plugin_pod(cluster, name) for name in NODES}
    assert applied(program, "device-plugin-restart", "--limit", "gpu-a1")
    assert plugin_pod(cluster, "gpu-a1") != pods["gpu-a1"]
    assert plugin_pod(cluster, "gpu-a2") == pods["gpu-a2"]

    assert applied(program, "device-plugin-config-manager")
    assert offers(cluster) == NODES
    assert applied(program, "mps", "-e", "replicas=3")
    assert offers(cluster) == {name: 3 * count for name, count in NODES.items()}
    assert applied(program, "device-plugin-rollback")
    assert offers(cluster) == NODES
    assert applied(program, "device-plugin-rollback") == []


def plugin_pod(cluster: Cluster, node: str) -> str:
    (uid,) = [uid for name, uid in cluster.pods(node).items() if f"/{PLUGIN}" in name]
    return uid


def test_a_node_left_cordoned_is_proven_and_given_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a1")
    cluster.patch_node("gpu-a1", {"spec": {"unschedulable": True}})
    driver = host.check_output("nvidia-smi -L")
    for name in cluster.gpu_pods("gpu-a1"):
        namespace, _, pod = name.partition("/")
        cluster.delete(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    until(lambda: not cluster.gpu_pods("gpu-a1"), "no pod uses a GPU of gpu-a1")
    check = ("--limit", "gpu-a1", "-e", "check_image=nvcr.io/nvidia/cuda:12.4.1-base-ubuntu22.04")
    (returned,) = applied(program, "node-return", *check)
    assert "cordoned by" in returned
    assert not cluster.cordoned("gpu-a1") and not cluster.marks("gpu-a1")
    assert not [name for name in cluster.pods("gpu-a1") if "gpurun-check" in name]
    assert host.check_output("nvidia-smi -L") == driver
    assert applied(program, "node-return", *check) == []


def test_rdma_devices_are_offered(fresh: LabUnderTest, program: Program, cluster: Cluster) -> None:
    host = fresh.host("gpu-a2")
    limit = ("--limit", "gpu-a2")
    refused = program.on_lab("apply", "playbooks/rdma-shared-plugin.yaml", "--yes", *limit)
    assert refused.returncode == 4 and "not loaded: mlx5_ib" in refused.stdout, refused.stdout
    host.check_output("mkdir -p /dev/infiniband && touch /dev/infiniband/uverbs0")
    host.check_output("touch /dev/infiniband/rdma_cm")
    for tool, text in (
        ("lsmod", "mlx5_ib 1 0\\nib_uverbs 1 0\\nrdma_ucm 1 0\\n"),
        ("rdma", "netns shared copy-on-fork on\\n"),
    ):
        script = f"#!/bin/sh\nprintf '{text}'\n"
        path = f"/usr/local/sbin/{tool}"
        host.check_output(f"printf %s {quote(script)} > {path} && chmod 755 {path}")
    assert applied(program, "rdma-shared-plugin", *limit)
    allocatable = cluster.node("gpu-a2")["status"]["allocatable"]
    assert allocatable["rdma/hca_shared_devices_a"] == "63"
    assert applied(program, "rdma-shared-plugin", *limit) == []


def test_capacity_as_a_report_and_as_a_verb(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    report = program.on_lab("plan", "playbooks/capacity-report.yaml")
    assert "2 nvidia.com/gpu allocatable" in report.stdout, report.stdout
    table = program.run("capacity", "-i", str(fresh.inventory))
    assert table.returncode == 0, table.stderr
    assert [line.split()[0] for line in table.stdout.splitlines()][:5] == ["NODE", *NODES]
