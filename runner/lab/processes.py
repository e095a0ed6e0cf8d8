"""Finding and ending the processes of a lab, without trusting files that a crash may leave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from runner.errors import GpurunError

PROC = Path("/proc")
MARKER = "GPURUN_LAB"
"""Environment variable of what runs outside a node: the folder it works for."""

PATIENCE = 60.0
"""Seconds to wait for killed processes to be gone; a loaded machine takes its time."""


def all_pids() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def is_alive(pid: int) -> bool:
    """Whether it exists and is no zombie."""
    return read(pid, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])


def read(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty when the process has gone or does not let us."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def network_of(pid: int) -> int:
    """Inode of its network namespace; 0 when it cannot be seen."""
    try:
        return (PROC / str(pid) / "ns/net").stat().st_ino
    except OSError:
        return 0


def namespace_inode(file: Path) -> int:
    """Inode of a named network namespace; 0 when there is none, or only a leftover file."""
    try:
        found, folder = file.stat(), file.parent.stat()
    except OSError:
        return 0
    return found.st_ino if found.st_dev != folder.st_dev else 0


def belongs(pid: int, folder: Path, cgroup: str, networks: Collection[int]) -> bool:
    """Whether a process was started for `folder`, or runs in its control group or networks."""
    if f"/{cgroup}/".encode() in read(pid, "cgroup").replace(b"\n", b"/\n"):
        return True
    if network_of(pid) in networks:
        return True
    mark = f"{MARKER}={folder}".encode()
    return any(
        variable == mark or variable.startswith(mark + b"/")
        for variable in read(pid, "environ").split(b"\0")
    )


def find(folder: Path, cgroup: str, networks: Collection[int]) -> list[int]:
    """All living processes that belong to a lab or node, ourselves and our parents excepted."""
    spared = set(ancestors(os.getpid()))
    return [
        pid
        for pid in all_pids()
        if pid not in spared and is_alive(pid) and belongs(pid, folder, cgroup, networks)
    ]


def ancestors(pid: int) -> Iterator[int]:
    """A process, its parent, and so on."""
    while pid > 0:
        yield pid
        fields = read(pid, "stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0


def end(seek: Callable[[], list[int]]) -> None:
    """Kill what `seek` finds until it finds nothing: children may appear meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while pids := seek():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise GpurunError(
                f"Processes {pids[:5]} of the lab do not end, not even killed",
                f"See where they hang: cat /proc/{pids[0]}/stack",
            )
        time.sleep(0.01)


def leaders(networks: Collection[int]) -> dict[int, int]:
    """PID 1 of each node that runs: network namespace inode → PID on this machine.

    NSpid lists a process's PIDs from our namespace inwards (proc(5)); a node's first one ends in 1.
    """
    found = {}
    for pid in all_pids():
        network = network_of(pid)
        if network in networks and first_in_namespace(read(pid, "status")) and is_alive(pid):
            found[network] = pid
    return found


def first_in_namespace(status: bytes) -> bool:
    """Whether /proc/PID/status tells of a PID 1 of an inner PID namespace."""
    for line in status.splitlines():
        if line.startswith(b"NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] == b"1"
    return False
