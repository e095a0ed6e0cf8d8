"""Layouts of MIG on the lab, offered under the profiles' names, and back after a real reboot."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runner.lab.faults import NODE_FAULTS
from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, until

pytestmark = pytest.mark.lab

BALANCED = "playbooks/mig-all-balanced.yaml"
LAYOUT = "playbooks/mig-layout.yaml"
HALVES = ("-e", "layout=all-halves")
PLUGIN = "/apis/apps/v1/namespaces/kube-system/daemonsets/nvidia-device-plugin-daemonset"
LIMIT = ("--limit", "gpu-a1,gpu-h1")


@pytest.fixture
def mixed(fresh: LabUnderTest, cluster: Cluster) -> LabUnderTest:
    """A lab whose device plugin names profiles."""
    (container,) = cluster.read(PLUGIN)["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "MIG_STRATEGY", "value": "mixed"}]
    cluster.patch(PLUGIN, {"spec": {"template": {"spec": {"containers": [container]}}}})
    return fresh


def profiles(host: Any) -> Counter[str]:
    return Counter(re.findall(r"^  MIG (\S+)", host.check_output("nvidia-smi -L"), re.M))


def offered(cluster: Cluster, node: str) -> dict[str, int]:
    shown = cluster.node(node)["status"]["allocatable"]
    return {
        name.removeprefix("nvidia.com/"): int(count)
        for name, count in shown.items()
        if name.startswith("nvidia.com/") and count != "0"
    }


def shown(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(c["host"], c["task"], c["summary"].split(" (pod")[0]) for c in report["changes"]}


def test_balanced_then_halves_then_a_reboot(
    mixed: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    hosts = {name: mixed.host(name) for name in ("gpu-a1", "gpu-h1")}
    keep = ("-e", "persist=true")
    code, plan = program.json("plan", BALANCED, *LIMIT, *keep)
    assert code == 2
    assert not any(profiles(host) for host in hosts.values())
    code, applied = program.json("apply", BALANCED, "--yes", *LIMIT, *keep)
    assert code == 0, str(applied["hosts"])
    assert shown(applied) == shown(plan)
    for name, host in hosts.items():
        assert profiles(host) == {"3g.40gb": 2, "2g.20gb": 2, "1g.10gb": 4}
        assert offered(cluster, name) == {"mig-3g.40gb": 2, "mig-2g.20gb": 2, "mig-1g.10gb": 4}
        assert host.service("gpurun-mig.service").is_enabled
        assert not cluster.cordoned(name) and not cluster.marks(name)
    code, again = program.json("apply", BALANCED, "--yes", *LIMIT)
    assert (code, again["changes"]) == (0, []), again

    code, halves = program.json("apply", LAYOUT, "--yes", *LIMIT, *HALVES)
    assert code == 0, str(halves["hosts"])
    assert any("keeps 1x 3g.40gb" in change["summary"] for change in halves["changes"])
    for name, host in hosts.items():
        assert profiles(host) == {"3g.40gb": 4}
        assert offered(cluster, name) == {"mig-3g.40gb": 4}

    host, boot = hosts["gpu-h1"], "cat /proc/sys/kernel/random/boot_id"
    before = host.check_output(boot)
    reboot = tmp_path / "reboot.yaml"
    reboot.write_text(
        "- hosts: all\n  become: true\n  tasks:\n    - name: Reboot\n      reboot: {}\n"
    )
    assert program.on_lab("apply", str(reboot), "--yes", "--limit", "gpu-h1").returncode == 0
    assert host.check_output(boot) != before
    until(lambda: host.service("gpurun-mig.service").is_running, "the unit has run")
    assert profiles(host) == {"3g.40gb": 4}, "Hopper has lost mode and instances"
    until(lambda: offered(cluster, "gpu-h1") == {"mig-3g.40gb": 4}, "gpu-h1 offers its halves")
    code, again = program.json("apply", LAYOUT, "--yes", *LIMIT, *HALVES)
    assert (code, again["changes"]) == (0, []), again


def test_a_gpu_that_somebody_holds_leaves_its_node_cordoned_named_and_resumable(
    mixed: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = mixed.host("gpu-h1")
    NODE_FAULTS["driver-held"](mixed.nodes["gpu-h1"])
    code, failed = program.json("apply", BALANCED, "--yes", "--limit", "gpu-h1")
    assert code == 1, failed
    (report,) = failed["hosts"]
    assert report["status"] == "failed"
    assert "MIG mode is not Enabled" in str(report) and "Xorg" in str(report)
    assert cluster.cordoned("gpu-h1")
    assert not profiles(host), "no GPU is cut in part"
    NODE_FAULTS["driver-free"](mixed.nodes["gpu-h1"])
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert profiles(host) == {"3g.40gb": 2, "2g.20gb": 2, "1g.10gb": 4}
    assert not cluster.cordoned("gpu-h1") and not cluster.marks("gpu-h1")
    code, again = program.json("apply", BALANCED, "--yes", "--limit", "gpu-h1")
    assert (code, again["changes"]) == (0, []), again


def test_an_old_strategy_is_refused_before_anything_is_touched(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    code, denied = program.json(
        "apply", BALANCED, "--yes", "--limit", "gpu-h1", "-e", "mig_strategy=single"
    )
    assert code == 4, denied
    assert "offers nothing where GPUs are cut in different ways" in str(denied["hosts"])
    assert not cluster.cordoned("gpu-h1") and not profiles(fresh.host("gpu-h1"))


def test_a_reboot_brings_the_mode_of_gpus_that_cannot_be_reset(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host, boot = fresh.host("gpu-a2"), "cat /proc/sys/kernel/random/boot_id"
    before = host.check_output(boot)
    NODE_FAULTS["no-reset"](fresh.nodes["gpu-a2"])
    options = ("--yes", "--limit", "gpu-a2", "-e", "reboot=if_needed")
    code, applied = program.json("apply", "playbooks/mig-7x1g.yaml", *options)
    assert code == 0, str(applied["hosts"])
    assert host.check_output(boot) != before
    assert profiles(host) == {"1g.5gb": 7}
    assert cluster.allocatable("gpu-a2") == 7
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
    code, again = program.json("apply", "playbooks/mig-7x1g.yaml", *options)
    assert (code, again["changes"]) == (0, []), again
