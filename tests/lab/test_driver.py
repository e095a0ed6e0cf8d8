"""driver-upgrade, -rollback and -reload on real apt, dkms scripts, systemd and reboots."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab.faults import NODE_FAULTS
from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program

pytestmark = pytest.mark.lab

UPGRADE = "playbooks/driver-upgrade.yaml"
ROLLBACK = "playbooks/driver-rollback.yaml"
RELOAD = "playbooks/driver-reload.yaml"
OLD, NEW = "550.90.07", "570.86.15"
RECORD = "/var/lib/gpurun/driver/gpus.json"
ONE = ("--yes", "--limit", "gpu-a2")


def fault(lab: LabUnderTest, node: str, name: str) -> None:
    NODE_FAULTS[name](lab.nodes[node])


def loaded(host: Any) -> str:
    """The driver that answers; "" if none does."""
    done = host.run("nvidia-smi --query-gpu=driver_version --format=csv,noheader | sort -u")
    return str(done.stdout).strip() if "mismatch" not in done.stdout else ""


def installed(host: Any) -> set[str]:
    """Names of the driver's packages."""
    found = host.check_output("dpkg-query -W -f='${Package} ${db:Status-Status}\\n' '*nvidia*'")
    return {line.split()[0] for line in found.splitlines() if line.endswith(" installed")}


def boot(host: Any) -> str:
    return str(host.check_output("cat /proc/sys/kernel/random/boot_id"))


def slices(host: Any) -> int:
    return int(host.check_output("nvidia-smi -L").count("MIG 1g."))


def shown(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(c["host"], c["task"], c["summary"].split(" (pod")[0]) for c in report["changes"]}


def status(report: dict[str, Any], node: str = "gpu-a2") -> tuple[str, str]:
    (found,) = [host for host in report["hosts"] if host["host"] == node]
    return found["status"], str(found)


def test_all_nodes_one_of_them_by_a_reboot(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    hosts = {name: fresh.host(name) for name in fresh.nodes}
    program.json("apply", "playbooks/mig-7x1g.yaml", "--yes", "--limit", "gpu-a1,gpu-h1")
    fault(fresh, "gpu-a2", "driver-held")
    boots = {name: boot(host) for name, host in hosts.items()}
    offered = {name: cluster.allocatable(name) for name in fresh.nodes}
    assert offered == {"gpu-a1": 14, "gpu-a2": 1, "gpu-h1": 14, "gpu-t1": 1}

    code, plan = program.json("plan", UPGRADE)
    assert code == 2
    assert all(loaded(host) == OLD for host in hosts.values())
    assert not any(cluster.cordoned(name) for name in fresh.nodes)

    code, applied = program.json("apply", UPGRADE, "--yes")
    assert code == 0, applied
    assert shown(applied) == shown(plan)
    for name, host in hosts.items():
        assert loaded(host) == NEW
        assert host.service("nvidia-persistenced").is_running
        assert "Disabled" not in host.check_output("nvidia-smi -q | grep Persistence")
        assert cluster.allocatable(name) == offered[name]
        assert not cluster.cordoned(name) and not cluster.marks(name)
        assert not host.file(RECORD).exists
        assert (boot(host) != boots[name]) == (name == "gpu-a2")
        held = set(host.check_output("apt-mark showhold").split())
        assert held == installed(host), "the whole set is held"
    assert slices(hosts["gpu-a1"]) == slices(hosts["gpu-h1"]) == 14

    code, again = program.json("apply", UPGRADE, "--yes")
    assert (code, again["changes"]) == (0, []), again


def test_back_to_the_driver_from_before_and_only_once(
    fresh: LabUnderTest, program: Program
) -> None:
    host = fresh.host("gpu-a2")
    before = installed(host)
    code, nothing = program.json("apply", ROLLBACK, *ONE)
    assert (code, status(nothing)[0]) == (4, "denied")
    for flavour, way in (("proprietary", "if_needed"), ("open", "always")):
        more = ("-e", f"driver_version={NEW}", "-e", f"flavour={flavour}", "-e", f"reboot={way}")
        code, up = program.json("apply", UPGRADE, *ONE, *more)
        assert code == 0, up
    assert "Open Kernel Module" in host.file("/proc/driver/nvidia/version").content_string
    code, back = program.json("apply", ROLLBACK, *ONE)
    assert code == 0, back
    assert (loaded(host), installed(host)) == (OLD, before)
    code, again = program.json("apply", ROLLBACK, *ONE)
    assert (code, again["changes"]) == (0, []), again


def test_an_installation_that_fails_is_undone_and_can_be_resumed(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    before = installed(host)
    fault(fresh, "gpu-a2", "dkms-fail")
    code, failed = program.json("apply", UPGRADE, *ONE)
    assert (code, status(failed)[0]) == (1, "failed")
    assert "Bad return status for module build" in status(failed)[1], "why dkms failed is said"
    assert "was undone" in status(failed)[1]
    assert cluster.cordoned("gpu-a2")

    assert (loaded(host), installed(host)) == (OLD, before)
    assert not host.file(RECORD).exists
    assert host.service("nvidia-persistenced").is_running

    fault(fresh, "gpu-a2", "dkms-ok")
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert loaded(host) == NEW and installed(host).isdisjoint(before)
    assert host.service("nvidia-persistenced").is_running
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_an_upgrade_that_was_undone_can_be_given_up(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    before = installed(host)
    fault(fresh, "gpu-a2", "dkms-fail")
    assert program.json("apply", UPGRADE, *ONE)[0] == 1
    assert cluster.cordoned("gpu-a2")
    failed = cluster.marks("gpu-a2")["gpurun.dev/run"]
    code, back = program.json("apply", ROLLBACK, *ONE, "--take-over", failed)
    assert code == 0, back
    assert (loaded(host), installed(host)) == (OLD, before)
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_a_branch_is_any_version_of_it_and_of_unknown_ones_the_known_are_named(
    fresh: LabUnderTest, program: Program
) -> None:
    branch = ("-e", "driver_version=570")
    code, up = program.json("apply", UPGRADE, *ONE, *branch)
    assert code == 0, up
    assert loaded(fresh.host("gpu-a2")) == "570.124.06"
    code, again = program.json("apply", UPGRADE, *ONE, *branch)
    assert (code, again["changes"]) == (0, []), again
    code, denied = program.json("plan", UPGRADE, "--limit", "gpu-a2", "-e", "driver_version=999.1")
    assert code == 4 and "Sources offer 580.65.06, 570.124.06" in status(denied)[1]


@pytest.mark.parametrize(
    ("name", "cure", "reason"),
    [
        ("apt-lock", "apt-unlock", "unattended-upgrade holds /var/lib/dpkg/lock"),
        ("disk-full", "disk-free", "MiB are free"),
        ("no-headers", "headers", "no headers; install linux-headers-"),
        ("secure-boot", "no-secure-boot", "Secure Boot is on"),
    ],
)
def test_a_node_that_cannot_take_the_driver_is_left_alone(
    fresh: LabUnderTest, program: Program, cluster: Cluster, name: str, cure: str, reason: str
) -> None:
    fault(fresh, "gpu-a2", name)
    try:
        code, denied = program.json("apply", UPGRADE, *ONE)
    finally:
        fault(fresh, "gpu-a2", cure)
    assert (code, status(denied)[0]) == (4, "denied"), denied
    assert reason in status(denied)[1]
    assert loaded(fresh.host("gpu-a2")) == OLD
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_packages_that_cannot_be_fetched_change_nothing(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    before = installed(host)
    fault(fresh, "gpu-a2", "repo-gone")
    code, failed = program.json("apply", UPGRADE, *ONE)
    assert (code, status(failed)[0]) == (1, "failed")
    assert (loaded(host), installed(host)) == (OLD, before)
    assert cluster.cordoned("gpu-a2"), "not proven, so not given back"
    fault(fresh, "gpu-a2", "repo-back")
    assert program.run("resume", "--yes").returncode == 0
    assert loaded(host) == NEW and not cluster.cordoned("gpu-a2")


def test_a_mismatch_that_somebody_else_made_is_cured(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    fault(fresh, "gpu-a2", "driver-mismatch")
    assert host.run("nvidia-smi").rc == 18
    code, reloaded = program.json("apply", RELOAD, *ONE)
    assert code == 0, reloaded
    assert loaded(host) == "570.124.06"
    assert not cluster.cordoned("gpu-a2") and cluster.allocatable("gpu-a2") == 1
    code, again = program.json("apply", RELOAD, *ONE)
    assert (code, again["changes"]) == (0, []), again


def test_without_a_reboot_it_stops_with_the_names_of_what_holds_the_driver(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    before = boot(host)
    fault(fresh, "gpu-a2", "driver-held")
    never = ("-e", "reboot=never")
    code, plan = program.json("plan", UPGRADE, "--limit", "gpu-a2", *never)
    assert code == 2 and "reboot" not in {change["disruption"] for change in plan["changes"]}
    code, failed = program.json("apply", UPGRADE, *ONE, *never)
    assert (code, status(failed)[0]) == (1, "failed")
    assert "Module nvidia is in use" in status(failed)[1] and "Xorg" in status(failed)[1]
    assert cluster.cordoned("gpu-a2") and boot(host) == before
    fault(fresh, "gpu-a2", "driver-free")
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert loaded(host) == NEW and boot(host) == before
    assert not cluster.cordoned("gpu-a2")


def test_a_node_that_does_not_come_back_stays_cordoned_until_it_is_finished(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    program.json("apply", "playbooks/mig-7x1g.yaml", *ONE)
    fault(fresh, "gpu-a2", "driver-held")
    fault(fresh, "gpu-a2", "no-reboot")
    code, failed = program.json("apply", UPGRADE, *ONE, "-e", "reboot_timeout=15")
    assert (code, status(failed)[0]) == (1, "unreachable"), failed
    assert cluster.cordoned("gpu-a2")
    fault(fresh, "gpu-a2", "power-on")
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert loaded(host) == NEW and slices(host) == 7, "MIG is as before, from what was kept"
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
