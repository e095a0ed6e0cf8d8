"""What joins a host's GPUs to each other and to the PCI bus: NVLinks, NVSwitches, and whether one
has fallen off the bus since boot."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

LINKS_KEY = "gpu links"


@dataclass(frozen=True, slots=True)
class GpuLinks:
    """One look.

    Args:
        switches: NVSwitches on the PCI bus.
        active: whether any NVLink is up; None: nvidia-smi does not say.
        fallen: PCI addresses (`0000:07:00`) of GPUs that the kernel log says fell off the bus in
            this boot, with Xid 79 or without; "?" for one that it does not name.
    """

    switches: int = 0
    active: bool | None = None
    fallen: frozenset[str] = frozenset()


_LOOK = """\
export LC_ALL=C
log=$(dmesg) || exit 3
printf 'switches %s\\n' "$(lspci -D -n -d 10de: | grep -c '^[^ ]* 0680: ')"
links=$(nvidia-smi nvlink -s 2>/dev/null) && echo 'links known'
printf '%s\\n' "$links" | sed -n 's/^.*Link [0-9]*: [0-9.]* GB.*$/links up/p' | sort -u
printf '%s\\n' "$log" | sed -n \\
  's/^.*NVRM: \\(.*\\)$/\\1/; /^Xid .*): 79,/p; /fallen off the bus/p; /^The NVIDIA GPU /p'
"""

_ADDRESS = re.compile(r"\b([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2})\b", re.I)


def links_probe(become: bool = True) -> Probe:
    return Probe(LINKS_KEY, _LOOK, parse_links, become=become)


def parse_links(result: Result) -> GpuLinks:
    """Raises Unknown where the kernel log cannot be read."""
    if result.rc != 0 or result.truncated:
        why = result.error_text[-200:] or f"exit {result.rc}"
        raise Unknown(
            f"whether a GPU has fallen off the bus is not known: the kernel log cannot be read "
            f"({why})"
        )
    lines = result.text.splitlines()
    counts = [line.removeprefix("switches ") for line in lines if line.startswith("switches ")]
    if len(counts) != 1 or not counts[0].isdigit():
        raise Unknown(f"the look at the GPUs' links printed {result.text[:200]!r}")
    active = "links up" in lines if "links known" in lines else None
    log = (line for line in lines if not line.startswith(("switches ", "links ")))
    return GpuLinks(int(counts[0]), active, frozenset(_fallen(log)))


def _fallen(lines: Iterable[str]) -> Iterable[str]:
    """The driver's words about a lost GPU, which may go over three lines with the address in the
    first."""
    named = ""
    for line in lines:
        found = _ADDRESS.search(line)
        if line.startswith("The NVIDIA GPU "):
            named = found[1].lower() if found else ""
        else:
            yield found[1].lower() if found else named or "?"


def pci_address(bus_id: str) -> str:
    """`0000:07:00` of any way to write a GPU's bus id, as the kernel log has it."""
    return bus_id.lower()[-12:].partition(".")[0]
