"""What this machine must have for a lab, and how to say what is missing."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from runner.errors import GpurunError
from runner.lab import cgroups
from runner.lab.commands import TOOL_PATH
from runner.lab.layout import is_rootless

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

ROOTLESS_TOOLS = {"newuidmap": "uidmap", "newgidmap": "uidmap", "tar": "tar"}

SUBORDINATE = 65536
"""User IDs an ordinary user needs beside its own: those of a whole Linux system."""

SWITCHES = {
    "user/max_user_namespaces": "10000",
    "kernel/unprivileged_userns_clone": "1",
    "kernel/apparmor_restrict_unprivileged_userns": "0",
}
"""Kernel settings below /proc/sys that can forbid user namespaces, each with an allowing value."""

IN_A_CONTAINER = (
    "Or use a container: docker run --rm -it --privileged -v gpurun-cache:/var/cache/gpurun "
    '-v "$PWD":/gpurun -w /gpurun debian:12 ./dev demo (podman: the same, as root)'
)


def check(profile: str) -> None:
    """Raise GpurunError with all that is missing for a lab of that profile, and what to do."""
    if not sys.platform.startswith("linux"):
        raise GpurunError(
            f"The lab's nodes need Linux; this is {sys.platform}",
            "Use a Linux machine or virtual machine; docs/lab.md says which.",
        )
    require_root()
    if is_rootless() and profile == "full":
        raise GpurunError(
            "A rootless lab has light nodes only: systemd needs a control group of its own, which "
            "this user does not have",
            "Leave out --profile full, or use sudo gpurun lab up.",
        )
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


def check_rootless() -> None:
    """Raise GpurunError with all that an ordinary user's lab lacks here, and how to get it."""
    if not sys.platform.startswith("linux"):
        check("light")
    tools = {**TOOLS, **ROOTLESS_TOOLS}
    lacking = sorted({p for tool, p in tools.items() if not shutil.which(tool, path=TOOL_PATH)})
    found: list[tuple[str, str]] = []
    if lacking:
        names = " ".join(lacking)
        found.append(
            (
                f"packages {', '.join(lacking)}",
                f"sudo apt-get install --no-install-recommends {names}",
            )
        )
    found += subordinate_problems(pwd.getpwuid(os.geteuid()).pw_name)
    found += refusing_switches(("user/max_user_namespaces", "kernel/unprivileged_userns_clone"))
    if found:
        raise refusal("missing are " + "; ".join(what for what, _ in found), found)


def refusal(why: str, mended: list[tuple[str, str]]) -> GpurunError:
    """The error with the commands that mend it, and the ways around it."""
    commands = "".join(f"\n    {command}" for _, command in mended)
    return GpurunError(
        f"The lab cannot run here as an ordinary user: {why}",
        (f"Run, as an administrator:{commands}\n" if commands else "")
        + f"Or run the lab as root: sudo gpurun lab up\n{IN_A_CONTAINER}",
    )


def rootless_refusal(said: str) -> GpurunError:
    """Why namespaces were refused although nothing seemed to be missing.

    Args:
        said: what unshare or mount printed.
    """
    switches = refusing_switches(("kernel/apparmor_restrict_unprivileged_userns",))
    usual = "" if switches else " (usual inside a container)"
    causes = "".join(f"; {what}" for what, _ in switches)
    return refusal(f"the kernel refuses its namespaces: {said}{usual}{causes}", switches)


def subordinate_problems(
    user: str, files: tuple[Path, ...] = (Path("/etc/subuid"), Path("/etc/subgid"))
) -> list[tuple[str, str]]:
    """What is missing in /etc/subuid and /etc/subgid (subuid(5)), each with its remedy."""
    problems = []
    for file in files:
        ranges = [line.split(":") for line in read_lines(file) if line.count(":") == 2]
        whole = [r for r in ranges if r[0] in (user, str(os.geteuid())) and r[2].isdigit()]
        if any(int(r[2]) >= SUBORDINATE for r in whole):
            continue
        ends = [int(r[1]) + int(r[2]) for r in ranges if r[1].isdigit() and r[2].isdigit()]
        first = max([100000, *ends])
        option = "--add-subuids" if file.name == "subuid" else "--add-subgids"
        problems.append(
            (
                f"{SUBORDINATE} subordinate IDs for {user} in {file}",
                f"sudo usermod {option} {first}-{first + SUBORDINATE - 1} {user}",
            )
        )
    return problems


def read_lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


def refusing_switches(
    names: Iterable[str], root: Path = Path("/proc/sys")
) -> list[tuple[str, str]]:
    """Kernel settings that forbid user namespaces to ordinary users, each with its remedy."""
    found = []
    for name in names:
        key, now = name.replace("/", "."), "".join(read_lines(root / name)).strip()
        forbidden = "1" if "restrict" in name else "0"
        if now == forbidden:
            found.append(
                (
                    f"{key} is {now}, which forbids user namespaces",
                    f"sudo sysctl -w {key}={SWITCHES[name]}",
                )
            )
    return found


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
