"""One node: its file system, start and end. Nothing here trusts files that a crash may leave."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from runner.errors import GpurunError
from runner.lab import cgroups, driver_packages, gpu, mounts, network, processes
from runner.lab.commands import environment, run
from runner.lab.image import FILES
from runner.lab.layout import Node, is_rootless

DISK_SIZE = "4g"
"""Most that a node may write; it lies in memory, and only what is written is used."""

HOST_KEY = "ssh_host_ed25519_key"
REBOOT_STATUS = {"full": 133, "light": 129}
"""How systemd-nspawn says that its node asks for a reboot (systemd.exec(5), RestartForceExitStatus)
and how unshare ends when PID 1 of a PID namespace called reboot(2): by SIGHUP."""

PATIENCE = 120.0
"""Seconds a node may take to come up; a quiet machine needs two."""

RUNNING = ("running", "degraded")
"""What `systemctl is-system-running` prints once start-up is over (systemctl(1))."""


def running(nodes: Iterable[Node]) -> dict[str, int]:
    """PID 1 of each of the nodes that run, by node name."""
    inodes = {processes.namespace_inode(node.namespace_file): node for node in nodes}
    inodes.pop(0, None)
    found = processes.leaders(inodes.keys())
    return {inodes[inode].name: pid for inode, pid in found.items()}


def prepare(node: Node, layers: list[Path], public_key: str) -> None:
    """Make a node's file system anew, from the image and what makes it this node."""
    mounts.remove_tree(node.root)
    mounts.remove_tree(node.disk)
    mounts.mount("tmpfs", node.namespace, node.disk, f"mode=755,size={DISK_SIZE}")
    if is_rootless() and not mounts.holds_attributes(node.disk):
        mounts.unmount_below(node.disk)
    mounts.overlay(node.root, layers, node.disk / "upper", node.disk / "work")
    (node.disk / "containerd").mkdir()
    for name in ("console.log", "no-reboot"):
        (node.folder / name).unlink(missing_ok=True)
    make_identity(node)
    root = node.root
    (root / "etc/hostname").write_text(f"{node.name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{node.address} {node.name}\n")
    shutil.copyfile(node.identity / "machine-id", root / "etc/machine-id")
    for suffix, mode in (("", 0o600), (".pub", 0o644)):
        target = root / "etc/ssh" / f"{HOST_KEY}{suffix}"
        shutil.copyfile(node.identity / f"{HOST_KEY}{suffix}", target)
        target.chmod(mode)
    authorize(root, public_key)
    gpu.create(root, node.spec.model, node.spec.count, driver_packages.DEFAULT_DRIVER)


def make_identity(node: Node) -> None:
    """A host key and machine id of its own, made once."""
    if (node.identity / "machine-id").is_file():
        return
    shutil.rmtree(node.identity, ignore_errors=True)
    node.identity.mkdir(parents=True)
    make_key(node.identity / HOST_KEY, f"root@{node.name}")
    (node.identity / "machine-id").write_text(f"{uuid.uuid4().hex}\n")


def make_key(path: Path, comment: str) -> None:
    """A new ed25519 key without a passphrase."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def authorize(root: Path, public_key: str) -> None:
    """Let the lab's key in, as root and as every user with a home folder."""
    accounts = (line.split(":") for line in (root / "etc/passwd").read_text().splitlines())
    for name, _, uid, gid, _, home, _ in accounts:
        if name != "root" and not home.startswith("/home/"):
            continue
        folder = root / home.lstrip("/") / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / "authorized_keys"
        file.write_text(public_key)
        file.chmod(0o600)
        for path in (folder, file):
            shutil.chown(path, int(uid), int(gid))


def start(node: Node) -> None:
    """Start a prepared and connected node; it goes on when this process has ended."""
    groups = [str(folder / "cgroup.procs") for folder in cgroups.make(node.cgroup)]
    keep = ["/bin/sh", str(FILES / "keep"), str(node.folder)]
    status = str(REBOOT_STATUS[node.profile])
    command = nspawn_command(node) if node.profile == "full" else light_command(node)
    subprocess.Popen(
        [*keep, status, ":".join(groups), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(
            {
                processes.MARKER: str(node.folder),
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
            }
        ),
        start_new_session=True,
        cwd="/",
    )


def nspawn_command(node: Node) -> list[str]:
    """systemd-nspawn(1) that boots the node's own systemd.

    @keyring, bpf and CAP_NET_ADMIN are what containers of the node's containerd need.
    """
    return [
        "systemd-nspawn",
        "--quiet",
        f"--directory={node.root}",
        f"--machine={node.name}",
        "--register=no",
        "--keep-unit",
        f"--network-namespace-path={node.namespace_file}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--notify-ready=no",
        "--console=read-only",
        f"--bind={node.disk / 'containerd'}:/var/lib/containerd",
        "--capability=CAP_NET_ADMIN",
        "--system-call-filter=@keyring bpf",
        "--boot",
    ]


def light_command(node: Node) -> list[str]:
    """unshare(1) with the node's sshd as PID 1; its end takes all of the node along."""
    return [
        *("nsenter", f"--net={node.namespace_file}"),
        *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
        *("/bin/sh", str(FILES / "light-init")),
        *(str(node.root), node.name, str(node.disk / "containerd")),
    ]


def wait_ready(nodes: Iterable[Node]) -> None:
    """Wait until each node answers as SSH server, and full ones have finished starting up.

    Raises:
        GpurunError: when one does not get there, with the end of its console.
    """
    waiting = list(nodes)
    deadline = time.monotonic() + PATIENCE
    while waiting:
        pids = running(waiting)
        waiting = [node for node in waiting if not is_ready(node, pids.get(node.name))]
        if waiting and time.monotonic() > deadline:
            node = waiting[0]
            raise GpurunError(
                f"Node {node.name} did not come up within {PATIENCE:.0f} s"
                f"{console_end(node) or ': its console shows nothing'}",
                f"Look at {node.folder}/console.log; gpurun lab reset starts again.",
            )
        if waiting:
            time.sleep(0.05)


def console_end(node: Node) -> str:
    """The last lines of its console."""
    try:
        lines = (node.folder / "console.log").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    clean = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in lines[-8:])
    return "".join(f"\n    {line}" for line in clean)


def is_ready(node: Node, leader: int | None) -> bool:
    """Whether it can be worked with."""
    if leader is None or (node.profile == "full" and not has_started(leader)):
        return False
    return answers_ssh(node.address)


def has_started(leader: int) -> bool:
    """Whether the systemd with that PID on this machine has finished starting up."""
    done = subprocess.run(
        [*enter_command(leader), "systemctl", "is-system-running"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() in RUNNING


def enter_command(leader: int) -> list[str]:
    """Run a command inside a node as its root, given its PID 1 on this machine."""
    clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
    return ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid",
            "--root", "--wd", *clean]  # fmt: skip


def answers_ssh(address: str, port: int = 22) -> bool:
    """Whether an SSH server greets there."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def remove(node: Node) -> None:
    """End a node and remove all of it from this machine but its identity."""
    inode = processes.namespace_inode(node.namespace_file)
    networks = {inode} - {0}
    processes.end(lambda: processes.find(node.folder, node.cgroup, networks))
    mounts.unmount_below(node.folder)
    network.remove_link(node.interface)
    network.remove_namespace(node.namespace_file)
    cgroups.remove(node.cgroup)
