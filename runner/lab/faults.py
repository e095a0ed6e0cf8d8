"""Faults that can be put into a running lab, and how each is taken back."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from runner.errors import GpurunError
from runner.lab import cgroups, driver_packages, gpu, mounts, node, processes
from runner.lab.commands import run
from runner.lab.layout import Node

XID_TEXTS = {
    13: "pid=4242, name=python3, Graphics Exception: ESR 0x404490=0x80000001",
    31: "pid=4242, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS",
    48: "pid='<unknown>', name=<unknown>, DBE (double bit error) detected",
    63: "pid=1896, Row Remapper: New row marked for remapping, reset gpu to activate.",
    64: "pid=1896, Row Remapper: Error writing to InfoROM, row remapping failed.",
    74: "pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link 0",
    94: "pid=4242, name=python3, Contained: SM (0x1). RST: No, D-RST: No",
    95: "pid=4242, name=python3, Uncontained: SM (0x1). RST: Yes, D-RST: No",
    119: "pid=4242, name=nvidia-smi, Timeout after 6s of waiting for RPC response from GPU GSP!",
}
"""What the driver writes after some XIDs; others get the form without a process."""

OFF_THE_BUS, ROW_REMAPPED, RECOVERY_ACTION = 79, 63, 154
ASKED_FOR = {48: "Reset", 63: "Drain and Reset", 64: "Reset", 95: "Reset", 140: "Reset"}
"""What the driver asks for after some XIDs, until that is done; of others it says nothing."""


def link_down(target: Node) -> None:
    """Pull the node's network cable."""
    run(["ip", "link", "set", target.interface, "down"])


def link_up(target: Node) -> None:
    """Plug the node's network cable in again."""
    run(["ip", "link", "set", target.interface, "up"])


def slow_sshd(target: Node) -> None:
    """Stop the node's SSH server: it accepts connections and says nothing."""
    os.kill(listening_sshd(target), signal.SIGSTOP)


def fast_sshd(target: Node) -> None:
    """Let the node's SSH server go on."""
    os.kill(listening_sshd(target), signal.SIGCONT)


def listening_sshd(target: Node) -> int:
    """The SSH server that accepts connections: PID 1 itself on a light node, else its child."""
    leader = running_leader(target)
    if target.profile == "light":
        return leader
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    for pid in map(int, children):
        if processes.read(pid, "comm").strip() == b"sshd":
            return pid
    raise GpurunError(f"No SSH server runs on node {target.name}")


def running_leader(target: Node) -> int:
    """PID 1 of the node on this machine.

    Raises:
        GpurunError: when the node is off.
    """
    pid = node.running([target]).get(target.name)
    if pid is None:
        raise GpurunError(
            f"Node {target.name} is off", f"Start it: gpurun lab fault power-on {target.name}"
        )
    return pid


def disk_full(target: Node) -> None:
    """Leave the node no space: its disk shrinks to what is used."""
    for spare in range(16):
        used = os.statvfs(target.disk)
        size = (used.f_blocks - used.f_bfree + spare) * used.f_frsize
        if mounts.resize(target.disk, str(size)):
            return
    raise GpurunError(f"The disk of node {target.name} grows too quickly to be filled")


def disk_free(target: Node) -> None:
    """Give the node its space back."""
    if not mounts.resize(target.disk, node.DISK_SIZE):
        raise GpurunError(f"The disk of node {target.name} is not there: is it up?")


def power_loss(target: Node) -> None:
    """Cut the power and give it back: nothing is shut down, only what was on disk stays."""
    power_off(target)
    power_on(target)


def power_off(target: Node) -> None:
    """Cut the power; the node stays off until power-on."""
    running_leader(target)
    _end_all(target)


def _end_all(target: Node) -> None:
    networks = {processes.namespace_inode(target.namespace_file)} - {0}
    processes.end(lambda: processes.find(target.folder, target.cgroup, networks))


def power_on(target: Node) -> None:
    """Start a node that is off, also one that did not come back from a reboot."""
    off = not node.running([target])
    if off:
        # Its keeper may not have seen yet that it shall stay off, and would start it a second time.
        _end_all(target)
        cgroups.remove(target.cgroup)
    (target.folder / "no-reboot").unlink(missing_ok=True)
    if off:
        node.start(target)


def no_reboot(target: Node) -> None:
    """Let the node stay off at its next reboot."""
    (target.folder / "no-reboot").touch()


def mark(target: Node, name: str, present: bool) -> None:
    """A file in the node's /etc/lab, by which its simulated parts know of a fault."""
    file = target.root / "etc/lab" / name
    if present:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    else:
        file.unlink(missing_ok=True)


def dkms_fail(target: Node) -> None:
    """No module but that of the loaded driver can be built: installing another one fails."""
    mark(target, "dkms-fail", True)


def dkms_hang(target: Node) -> None:
    """The build of any module but that of the loaded driver does not end, nor does dpkg."""
    mark(target, "dkms-hang", True)


def dkms_ok(target: Node) -> None:
    """Kernel modules can be built again."""
    for name in ("dkms-fail", "dkms-hang"):
        mark(target, name, False)


def secure_boot(target: Node) -> None:
    """Secure Boot is on, and no key of the node's own is enrolled."""
    mark(target, "secure-boot", True)


def no_secure_boot(target: Node) -> None:
    """Secure Boot is off."""
    mark(target, "secure-boot", False)


HEADERS = f"lib/modules/{os.uname().release}/build"


def no_headers(target: Node) -> None:
    """The headers of the running kernel are gone, until the next boot."""
    (target.root / HEADERS).rmdir()


def headers(target: Node) -> None:
    """The headers of the running kernel are there again."""
    (target.root / HEADERS).mkdir(parents=True, exist_ok=True)


def apt_lock(target: Node) -> None:
    """A program like unattended-upgrades holds dpkg's locks."""
    pid_file = target.root / "run/lab/unattended-upgrade.pid"
    inside(target, f"rm -f /{pid_file.relative_to(target.root)}")
    subprocess.Popen(
        [*node.enter_command(running_leader(target)), "/usr/lib/lab/unattended-upgrade"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    inside(target, "until [ -s /run/lab/unattended-upgrade.pid ]; do sleep 0.05; done")


def apt_unlock(target: Node) -> None:
    """Nothing holds dpkg's locks any more."""
    inside(target, "kill $(cat /run/lab/unattended-upgrade.pid)")


MIRROR = "mirror-seconds"


def slow_mirror(target: Node) -> None:
    """The apt repository is found and does not answer: whatever apt reads of it takes an hour."""
    mark(target, MIRROR, True)
    (target.root / "etc/lab" / MIRROR).write_text("3600\n")


def fast_mirror(target: Node) -> None:
    """The apt repository answers at once."""
    mark(target, MIRROR, False)


REPOSITORY = "/srv/lab-repo"


def repo_gone(target: Node) -> None:
    """The node's apt repository has lost its packages; what it lists is as it was."""
    inside(
        target,
        f"cd {REPOSITORY} && mkdir /run/lab/repo && cp Packages Release /run/lab/repo && "
        f"mount --bind /run/lab/repo {REPOSITORY}",
    )


def repo_back(target: Node) -> None:
    """The node's apt repository is whole again."""
    inside(target, f"umount {REPOSITORY} && rm -r /run/lab/repo")


def reset_needed(target: Node) -> None:
    """An uncontained memory error: the driver asks for a reset of GPU 0."""
    gpu.add_xid(target.root, 0, 95, XID_TEXTS[95])
    gpu.ask_for(target.root, 0, "Reset")


def no_reset(target: Node) -> None:
    """The GPUs cannot be reset, as in many virtual machines."""
    gpu.expose_reset(target.root, False)


def resets(target: Node) -> None:
    """The GPUs can be reset."""
    gpu.expose_reset(target.root, True)


HOLDER = "Xorg"


def driver_held(target: Node) -> None:
    """A process that no drain ends holds the driver, until the next boot."""
    gpu.add_client(target.root, HOLDER, 815, f"/usr/lib/xorg/{HOLDER}", [0])


def driver_free(target: Node) -> None:
    """The process that holds the driver ends."""
    gpu.remove_client(target.root, HOLDER)


def driver_mismatch(target: Node) -> None:
    """Another version of the driver is installed, as by unattended-upgrades, and not loaded."""
    package = driver_packages.driver_package(driver_packages.DRIVERS[1])
    inside(target, f"DEBIAN_FRONTEND=noninteractive apt-get -qq install {package} >/dev/null")


def fabric_mismatch(target: Node) -> None:
    """GPUs behind NVSwitches whose fabric manager is of another version than the loaded driver."""
    gpu.join(target.root, 4)
    on_disk = _driver_on_disk(target)
    _fabric_manager(target, next(d for d in driver_packages.DRIVERS[1:] if d != on_disk))


def fabric_match(target: Node) -> None:
    """The fabric manager is of the version of the driver on disk, and runs if that is loaded."""
    _fabric_manager(target, _driver_on_disk(target))


def _driver_on_disk(target: Node) -> str:
    return (target.root / driver_packages.VERSION_FILE.lstrip("/")).read_text().strip()


def _fabric_manager(target: Node, driver: str) -> None:
    package = f"{driver_packages.FABRIC_MANAGER}-{driver_packages.driver_branch(driver)}"
    wanted = f"{package}={driver_packages.full_version(driver)}"
    inside(
        target,
        f"DEBIAN_FRONTEND=noninteractive apt-get -qq --allow-downgrades install {wanted} "
        f">/dev/null && systemctl start {driver_packages.FABRIC_MANAGER}",
    )


def inside(target: Node, shell: str) -> None:
    """Run shell text in the node, as its root."""
    run([*node.enter_command(running_leader(target)), "/bin/sh", "-c", shell])


def xid(target: Node, code: int, index: int) -> None:
    """Write an XID of a GPU into the node's kernel log.

    With 79 the GPU is gone until a boot; after memory errors the driver asks for a reset, with 154
    for a reboot.
    """
    if not 0 <= index < target.spec.count:
        raise GpurunError(f"Node {target.name} has GPUs 0 to {target.spec.count - 1}, no {index}")
    if code == OFF_THE_BUS:
        gpu.lose_gpu(target.root, index)
        return
    if code == RECOVERY_ACTION:
        gpu.ask_for(target.root, index, "Reboot")
        return
    gpu.add_xid(target.root, index, code, XID_TEXTS.get(code, "pid='<unknown>', name=<unknown>"))
    if code == ROW_REMAPPED:
        gpu.remap_row(target.root, index)
    if code in ASKED_FOR:
        gpu.ask_for(target.root, index, ASKED_FOR[code])


NODE_FAULTS: dict[str, Callable[[Node], None]] = {
    "link-down": link_down,
    "link-up": link_up,
    "slow-sshd": slow_sshd,
    "fast-sshd": fast_sshd,
    "disk-full": disk_full,
    "disk-free": disk_free,
    "power-loss": power_loss,
    "power-off": power_off,
    "power-on": power_on,
    "no-reboot": no_reboot,
    "dkms-fail": dkms_fail,
    "dkms-hang": dkms_hang,
    "dkms-ok": dkms_ok,
    "headers": headers,
    "no-headers": no_headers,
    "secure-boot": secure_boot,
    "no-secure-boot": no_secure_boot,
    "apt-lock": apt_lock,
    "apt-unlock": apt_unlock,
    "slow-mirror": slow_mirror,
    "fast-mirror": fast_mirror,
    "repo-gone": repo_gone,
    "repo-back": repo_back,
    "driver-held": driver_held,
    "driver-free": driver_free,
    "driver-mismatch": driver_mismatch,
    "fabric-mismatch": fabric_mismatch,
    "fabric-match": fabric_match,
    "reset-needed": reset_needed,
    "no-reset": no_reset,
    "resets": resets,
}
"""Faults of one node, by their names on the command line; their docstrings are the help."""
