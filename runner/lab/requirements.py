"""What this machine must have for a lab, and how to say what is missing."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from runner.errors import GpurunError
from runner.lab import cgroups
from runner.lab.commands import TOOL_PATH

TOOLS = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
"""Command → the Debian and Ubuntu package it is in."""

FULL_TOOLS = {"systemd-nspawn": "systemd-container"}


def check(profile: str) -> None:
    """Raise GpurunError with all that is missing for a lab of that profile, and what to do."""
    if not sys.platform.startswith("linux"):
        raise GpurunError(
            f"The lab's nodes need Linux; this is {sys.platform}",
            "Use a Linux machine or virtual machine; docs/lab.md says which.",
        )
    require_root()
    tools = {**TOOLS, **(FULL_TOOLS if profile == "full" else {})}
    missing = sorted({p for tool, p in tools.items() if not shutil.which(tool, path=TOOL_PATH)})
    if missing:
        raise GpurunError(
            f"The lab needs tools that are not installed: {', '.join(missing)}",
            f"Run: apt-get install --no-install-recommends {' '.join(missing)}",
        )
    problems = [text for text in (overlay_problem(), cgroup_problem(profile)) if text]
    if problems:
        raise GpurunError(
            f"The lab cannot run here: {'; '.join(problems)}",
            "This is usual in containers; use a (virtual) machine of its own, or a container "
            "started with --privileged.",
        )


def require_root() -> None:
    """Raise GpurunError for ordinary users, with the command that works."""
    if os.geteuid() != 0:
        program = shutil.which(sys.argv[0]) or sys.argv[0]
        raise GpurunError(
            "The lab makes network namespaces and mounts, so this needs root",
            f"Run: sudo {shlex.join([str(Path(program).absolute()), *sys.argv[1:]])}",
        )


def overlay_problem() -> str:
    """Why overlay file systems cannot be used; empty: they can, or the mount will tell."""
    known = Path("/proc/filesystems").read_text()
    module = any(Path("/lib/modules", os.uname().release).rglob("overlay.ko*"))
    return "" if "\toverlay\n" in known or module else "the kernel has no overlay file system"


def cgroup_problem(profile: str) -> str:
    """Why nodes with systemd cannot have control groups; empty: they can."""
    found = cgroups.hierarchies()
    if profile == "light" or (found and all(os.access(path, os.W_OK) for path in found)):
        return ""
    return "control groups (/sys/fs/cgroup) cannot be written (try --profile light)"
