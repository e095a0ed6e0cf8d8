"""What a lab node promises, seen over SSH."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.lab import access, cgroups, faults, lifecycle, mounts, network, node, processes
from runner.lab.layout import Lab, Node, NodeSpec, find_lab
from tests.conftest import LabUnderTest

pytestmark = pytest.mark.lab
PATIENCE = 120.0


@pytest.fixture(scope="module", autouse=True)
def as_after_up(lab: LabUnderTest) -> None:
    """Tests of other files may have left a node without power."""
    lab.reset()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; a loaded machine takes its time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "this never became true"
        time.sleep(0.1)


def boot_id(lab: LabUnderTest, name: str) -> str:
    return str(lab.host(name).check_output("cat /proc/sys/kernel/random/boot_id"))


def test_a_node_is_a_machine_of_its_own(lab: LabUnderTest) -> None:
    host = lab.host("gpu-a1")
    assert host.check_output("systemctl is-system-running") == "running"
    assert host.check_output("hostname") == "gpu-a1"
    assert host.service("containerd").is_running
    assert "config.toml" not in host.run("containerd config dump").stderr
    assert host.check_output("whoami") == "root"
    assert lab.host("gpu-a1", sudo=False).check_output("whoami") == "ops"


def test_a_node_has_the_gpus_it_was_asked_for(lab: LabUnderTest) -> None:
    assert lab.host("gpu-a1").check_output("nvidia-smi -L").count("A100") == 2
    assert lab.host("gpu-t1").check_output("nvidia-smi -L").count("T4") == 1
    version = lab.host("gpu-h1").file("/proc/driver/nvidia/version").content_string
    assert "550.90.07" in version


def test_apt_installs_the_toolkit_and_refuses_versions_that_do_not_fit(lab: LabUnderTest) -> None:
    host = lab.host("gpu-a2")
    assert not host.package("nvidia-container-toolkit").is_installed
    install = "DEBIAN_FRONTEND=noninteractive apt-get -y -q install nvidia-container-toolkit"
    rest = ("nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1")
    assert host.run(f"{install}=1.17.8-1").rc != 0, "the others would be 1.18.0"
    pinned = " ".join(f"{name}=1.17.8-1" for name in rest)
    host.run_expect([0], f"{install}=1.17.8-1 {pinned}")
    assert host.package("nvidia-container-toolkit").version == "1.17.8-1"
    assert "1.17.8" in host.check_output("nvidia-ctk --version")
    lab.reset("gpu-a2")
    assert not lab.host("gpu-a2").package("nvidia-container-toolkit").is_installed


def test_a_driver_upgrade_needs_a_reboot_and_a_reboot_is_real(lab: LabUnderTest) -> None:
    host = lab.host("gpu-a2")
    before = boot_id(lab, "gpu-a2")
    host.run_expect(
        [0], "DEBIAN_FRONTEND=noninteractive apt-get -y -q install nvidia-driver-570-server"
    )
    assert "Driver/library version mismatch" in host.run("nvidia-smi").stdout
    ssh(lab.nodes["gpu-a2"], "sudo systemctl reboot")
    until(lambda: rebooted(lab, "gpu-a2", before))
    assert "570.124.06" in ssh(lab.nodes["gpu-a2"], "nvidia-smi").stdout
    lab.reset("gpu-a2")


def rebooted(lab: LabUnderTest, name: str, before: str) -> bool:
    done = ssh(lab.nodes[name], "cat /proc/sys/kernel/random/boot_id && nvidia-smi -L")
    return done.returncode == 0 and before not in done.stdout


def ssh(target: Node, command: str, user: str = "ops") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*access.ssh_command(target, user), command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_users_with_a_sudo_password_and_without_sudo(lab: LabUnderTest) -> None:
    target = lab.nodes["gpu-t1"]
    assert "password is required" in ssh(target, "sudo -n true", "deploy").stderr
    assert ssh(target, "echo lab-password | sudo -S -p '' whoami", "deploy").stdout == "root\n"
    assert ssh(target, "echo wrong | sudo -S -p '' whoami", "deploy").returncode != 0
    assert ssh(target, "sudo -n true", "viewer").returncode != 0


def test_nodes_do_not_reach_outside(lab: LabUnderTest) -> None:
    target = lab.nodes["gpu-t1"]
    assert ssh(target, f"ip route get {lab.nodes['gpu-a1'].address}").returncode == 0
    assert (
        Path("/proc/sys/net/ipv4/ip_forward").read_text() == "0\n"
        or not ssh(target, "timeout 2 bash -c '</dev/tcp/192.0.2.1/80'").stdout
    )


def test_faults_come_and_go(lab: LabUnderTest) -> None:
    target = lab.nodes["gpu-t1"]
    faults.disk_full(target)
    full = ssh(target, "sudo dd if=/dev/zero of=/var/filler bs=64k count=64")
    assert "No space left on device" in full.stderr
    faults.disk_free(target)
    assert ssh(target, "sudo dd if=/dev/zero of=/var/filler bs=64k count=64").returncode == 0

    faults.slow_sshd(target)
    assert processes.read(faults.listening_sshd(target), "stat").rpartition(b")")[2].split()[0] in (
        b"T",
    )
    faults.fast_sshd(target)
    assert ssh(target, "true").returncode == 0

    faults.xid(target, 63, 0)
    assert "Xid (PCI:0000:01:00): 63" in ssh(target, "sudo dmesg").stdout

    faults.no_reboot(target)
    ssh(target, "sudo systemctl reboot")
    until(lambda: not node.running([target]))
    faults.power_on(target)
    node.wait_ready([target])
    assert ssh(target, "test -e /var/filler").returncode == 0, "its disk outlives the power"
    lab.reset("gpu-t1")
    assert ssh(target, "test -e /var/filler").returncode != 0


@pytest.fixture
def small() -> Lab:
    """A second lab beside the shared one, down before and after."""
    return find_lab(f"small-{os.getpid()}")


def pids_of(small: Lab) -> list[int]:
    networks = {processes.namespace_inode(file) for file in network.namespaces(small)} - {0}
    return processes.find(small.folder, small.cgroup, networks)


def leftovers(small: Lab) -> list[object]:
    """Everything of a lab that this machine still has."""
    groups = [top / small.cgroup for top in cgroups.hierarchies()]
    return [
        *pids_of(small),
        *mounts.below(small.folder),
        *network.namespaces(small),
        *network.interfaces(small),
        *(group for group in groups if group.exists()),
        *([small.folder] if small.folder.exists() else []),
    ]


@pytest.mark.parametrize("profile", ["full", "light"])
def test_a_lab_whose_processes_were_killed_comes_up_again_and_goes_down_without_a_trace(
    small: Lab, tmp_path: Path, profile: str
) -> None:
    inventory = tmp_path / "small.yaml"
    specs = [NodeSpec("a", "A100-40", 1), NodeSpec("b", "T4", 1)]
    try:
        lifecycle.up(small, specs, profile, inventory, print)
        for pid in pids_of(small):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        small.settings.write_text("{ half of a fi")
        network.remove_link(small.bridge)

        nodes = lifecycle.up(small, specs, profile, inventory, print)
        assert [ssh(one, "nvidia-smi -L").returncode for one in nodes] == [0, 0]

        same = [boot(one) for one in nodes]
        lifecycle.up(small, (), None, inventory, print)
        assert [boot(one) for one in nodes] == same, "nodes that run stay"
    finally:
        lifecycle.down(small, print)
    assert leftovers(small) == []
    assert not inventory.exists()


def boot(target: Node) -> str:
    return ssh(target, "cat /proc/sys/kernel/random/boot_id").stdout
