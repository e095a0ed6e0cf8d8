"""The operating system, the running kernel and the boot."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from runner.facts.base import Fact
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """As os-release(5) names it; "" where it does not say."""

    id: str
    version_id: str = ""
    codename: str = ""
    pretty: str = ""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The running kernel: `uname -r` and `uname -m`."""

    release: str
    machine: str


def parse_os(result: Result) -> OperatingSystem:
    """os-release(5). Raises Unknown where there is none or it has no ID."""
    if result.rc != 0:
        raise Unknown(f"the operating system is not known: {result.error_text}")
    values = dict(_assignment(line) for line in result.text.splitlines() if "=" in line)
    if not values.get("ID"):
        raise Unknown("the operating system is not known: os-release has no ID")
    return OperatingSystem(
        id=values["ID"],
        version_id=values.get("VERSION_ID", ""),
        codename=values.get("VERSION_CODENAME", ""),
        pretty=values.get("PRETTY_NAME", ""),
    )


def _assignment(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    try:
        words = shlex.split(value)
    except ValueError:
        words = [value]
    return name.strip(), words[0] if words else ""


def parse_kernel(result: Result) -> Kernel:
    """Two lines: release and machine."""
    lines = result.text.split()
    if result.rc != 0 or len(lines) != 2:
        raise Unknown(f"the kernel is not known: uname printed {result.error_text[:200]!r}")
    return Kernel(*lines)


def parse_boot_id(result: Result) -> str:
    """The random UUID that the kernel draws at each boot (random(4))."""
    boot_id = result.text.strip()
    if result.rc != 0 or not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", boot_id):
        raise Unknown(f"the boot id is not known: {result.error_text[:200]!r}")
    return boot_id


REACHABLE_KEY = "reachable"

REACHABLE = Fact(
    REACHABLE_KEY,
    "Whether the host answers: false only in plays that say `ignore_unreachable`, and in the "
    "`rescue` of a reboot from which it has not come back.",
    Probe(REACHABLE_KEY, ":", lambda result: ""),
    lambda why: not why,
)
"""Its state is why the host does not answer; "": it does."""

OS = Fact(
    "os",
    "Operating system: `id`, `version_id`, `codename`, `pretty` (from os-release).",
    Probe("os", "cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release", parse_os),
)

KERNEL = Fact(
    "kernel",
    "Running kernel: `release`, `machine` (from uname).",
    Probe("kernel", "uname -r && uname -m", parse_kernel),
)

BOOT_ID = Fact(
    "boot_id",
    "UUID of this boot; another one after every reboot.",
    Probe("boot_id", "cat /proc/sys/kernel/random/boot_id", parse_boot_id),
)
