"""NVIDIA's GPUs as the PCI bus shows them, with or without a driver."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.facts.base import Fact
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown


@dataclass(frozen=True, slots=True)
class PciGpu:
    """One GPU. `answers`: it has not fallen off the bus, where its registers read as ff."""

    pci: str
    device: str
    answers: bool


_ROW = re.compile(
    r"(?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]) 03(?:00|02): "
    r"10de:(?P<device>[0-9a-f]{4})(?: \(rev (?P<revision>[0-9a-f]{2})\))?",
)


def parse_pci_gpus(result: Result) -> tuple[PciGpu, ...]:
    """`lspci -D -n -d 10de:`: VGA and 3D controllers (PCI classes 0300 and 0302)."""
    if result.rc != 0 or result.truncated:
        why = "this host has no lspci" if result.rc == 127 else result.error_text[-200:]
        raise Unknown(f"the GPUs on the PCI bus are not known: {why}")
    return pci_gpus_of(result.text)


def pci_gpus_of(text: str) -> tuple[PciGpu, ...]:
    """The GPUs in the lines of `lspci -D -n`."""
    rows = [_ROW.match(line) for line in text.splitlines()]
    return tuple(
        PciGpu(row["pci"], row["device"].upper(), row["revision"] != "ff") for row in rows if row
    )


PCI_GPUS = Fact(
    "pci_gpus",
    "NVIDIA's GPUs on the PCI bus, whatever the driver shows",
    Probe("pci gpus", "lspci -D -n -d 10de:", parse_pci_gpus),
    fields=(
        ("pci", "text", "`0000:07:00.0`."),
        ("device", "text", "PCI device id in hex, `2330`."),
        ("answers", "boolean", "False: it has fallen off the bus (lspci shows rev ff)."),
    ),
)
