"""Promise 5: nothing is lost. Killed or stopped at any point, every node comes back."""

from __future__ import annotations

import signal

import pytest

from runner.lab import faults
from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, read_until, until

pytestmark = pytest.mark.lab

SEVEN = "playbooks/mig-7x1g.yaml"
SLOW = {"metadata": {"annotations": {"lab.gpurun.dev/termination-seconds": "600"}}}
AT_ONCE = {"metadata": {"annotations": {"lab.gpurun.dev/termination-seconds": "0"}}}


def busy_node(cluster: Cluster) -> str:
    """A node with MIG and pods that use its GPUs."""
    return next(node for node in ("gpu-h1", "gpu-a1", "gpu-a2") if cluster.gpu_pods(node))


def test_killed_in_mid_drain_and_resumed(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    node = busy_node(cluster)
    pods = cluster.gpu_pods(node)
    for pod in pods:
        cluster.patch_pod(pod, SLOW)
    process = program.start("apply", SEVEN, "--yes", "--limit", node)
    read_until(process, "evicting")
    process.kill()
    process.wait()
    assert cluster.cordoned(node)
    run = cluster.marks(node)["gpurun.dev/run"]

    other = program.on_lab("apply", SEVEN, "--yes", "--limit", node)
    assert other.returncode == 4
    assert f"gpurun resume {run}" in other.stdout

    for pod in set(pods) & set(cluster.gpu_pods(node)):
        cluster.patch_pod(pod, AT_ONCE)
    resumed = program.run("resume", run)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert not cluster.cordoned(node)
    assert not cluster.marks(node)
    assert cluster.allocatable(node) % 7 == 0
    assert "MIG 1g." in fresh.host(node).check_output("nvidia-smi -L")
    again = program.on_lab("apply", SEVEN, "--yes", "--limit", node)
    assert "no change" in again.stdout


def test_killed_after_the_change_and_resumed(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    process = program.start("apply", SEVEN, "--yes", "--limit", "gpu-h1")
    read_until(process, "Cut each GPU into seven: done")
    process.kill()
    process.wait()
    assert cluster.cordoned("gpu-h1")
    resumed = program.run("resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert not cluster.cordoned("gpu-h1")
    assert not cluster.marks("gpu-h1")
    until(lambda: cluster.allocatable("gpu-h1") == 14, "the plugin offers 14 GPUs")


def test_ctrl_c_in_mid_drain_gives_the_node_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    node = busy_node(cluster)
    for pod in cluster.gpu_pods(node):
        cluster.patch_pod(pod, SLOW)
    process = program.start("apply", SEVEN, "--yes", "--limit", node)
    read_until(process, "evicting")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 130, output
    assert not cluster.cordoned(node)
    assert not cluster.marks(node)
    assert "MIG" not in fresh.host(node).check_output("nvidia-smi -L")


def test_a_node_that_falls_silent_in_mid_change_is_not_reported_as_done(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    process = program.start("apply", SEVEN, "--yes", "--limit", "gpu-a1")
    read_until(process, "Cut each GPU into seven ...")
    faults.link_down(fresh.nodes["gpu-a1"])
    output, _ = process.communicate(timeout=600)
    faults.link_up(fresh.nodes["gpu-a1"])
    assert process.returncode == 1, output
    assert "gpu-a1: unreachable" in output
    assert "gpurun resume" in output
    assert cluster.cordoned("gpu-a1")
    resumed = program.run("resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert not cluster.cordoned("gpu-a1")
    assert not cluster.marks("gpu-a1")
    assert fresh.host("gpu-a1").check_output("nvidia-smi -L").count("MIG 1g.") == 14
