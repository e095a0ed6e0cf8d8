"""NVIDIA's fabric manager, without which GPUs behind NVSwitches do not work together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.facts.base import Fact
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

UNIT = "nvidia-fabricmanager"
FABRIC_MANAGER_KEY = "fabric manager"


@dataclass(frozen=True, slots=True)
class FabricManager:
    """The program on disk, its unit, and the NVSwitches that it is there for.

    Args:
        version: of the program on disk; "": it is not installed.
        active: it runs. `enabled`: it starts at boot.
        switches: NVSwitches on the PCI bus.
        said: the last line of its log in this boot.
    """

    version: str = ""
    active: bool = False
    enabled: bool = False
    switches: int = 0
    said: str = ""


_LOOK = f"""\
export LC_ALL=C
switches=$(lspci -D -n -d 10de: | grep -c '^[^ ]* 0680: ')
echo "switches $switches"
command -v nv-fabricmanager >/dev/null 2>&1 || exit 0
echo "version $(nv-fabricmanager --version 2>&1 | head -n 1)"
[ -d /run/systemd/system ] || exit 0
! systemctl is-active -q {UNIT} || echo active
! systemctl is-enabled -q {UNIT} 2>/dev/null || echo enabled
said=$(journalctl -b -q -o cat -n 20 _SYSTEMD_UNIT={UNIT}.service 2>/dev/null | tail -n 1)
[ -z "$said" ] || printf 'said %.300s\\n' "$said"
"""

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")


def parse_fabric_manager(result: Result) -> FabricManager:
    """What `_LOOK` printed. Raises Unknown where the version cannot be told."""
    if result.rc != 0 or result.truncated:
        raise Unknown(f"the fabric manager is not known: {result.error_text[-200:]}")
    words = dict(line.partition(" ")[::2] for line in result.text.splitlines())
    switches = words.get("switches", "")
    found = _VERSION.search(words.get("version", ""))
    if not switches.isdigit() or ("version" in words and found is None):
        raise Unknown(f"the fabric manager is not known: {result.text[:200]!r}")
    return FabricManager(
        found[0] if found else "",
        "active" in words,
        "enabled" in words,
        int(switches),
        words.get("said", ""),
    )


FABRIC_MANAGER = Fact(
    "fabric_manager",
    "NVIDIA's fabric manager: its program and service, and the NVSwitches it is there for",
    Probe(FABRIC_MANAGER_KEY, _LOOK, parse_fabric_manager),
    fields=(
        ("version", "text", "Of the program on disk; empty: not installed."),
        ("active", "boolean", "Its service runs."),
        ("enabled", "boolean", "Its service starts at boot."),
        ("switches", "number", "NVSwitches on the PCI bus."),
        ("said", "text", "The last line of its log in this boot."),
    ),
)
