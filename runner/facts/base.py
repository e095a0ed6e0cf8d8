"""The contract of a fact: one probe and its value for templates (`facts.NAME`)."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.modules.base import Probe


def plain(state: Any) -> Any:
    """Dataclasses, tuples and mappings as dicts and lists, for templates and JSON."""
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return {f.name: plain(getattr(state, f.name)) for f in dataclasses.fields(state)}
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [plain(item) for item in state]
    return state


@dataclass(frozen=True, slots=True)
class Fact:
    """Something true of a host.

    Args:
        name: as in `facts.NAME`.
        doc: one line for the documentation.
        probe: how it is read; None for `kubernetes`, which comes from the cluster.
        export: parsed state -> plain data for templates.
        fields: name, type and meaning of what it (or each of its items) holds; () where `doc` says
            it all.
    """

    name: str
    doc: str
    probe: Probe | None
    export: Callable[[Any], Any] = plain
    fields: tuple[tuple[str, str, str], ...] = ()


FACTS: dict[str, str] = {
    "os": "runner.facts.system:OS",
    "kernel": "runner.facts.system:KERNEL",
    "boot_id": "runner.facts.system:BOOT_ID",
    "reachable": "runner.facts.system:REACHABLE",
    "packages": "runner.facts.packages:PACKAGES",
    "containerd": "runner.facts.containerd:CONTAINERD",
    "container_runtime": "runner.facts.container_runtime:CONTAINER_RUNTIME",
    "driver": "runner.facts.nvidia:DRIVER",
    "driver_previous": "runner.facts.driver_history:DRIVER_PREVIOUS",
    "gpus": "runner.facts.nvidia:GPUS",
    "gpu_health": "runner.facts.gpu_health:GPU_HEALTH",
    "gpus_before": "runner.facts.driver_history:GPUS_BEFORE",
    "pci_gpus": "runner.facts.pci:PCI_GPUS",
    "fabric_manager": "runner.facts.fabric_manager:FABRIC_MANAGER",
    "package_manager": "runner.facts.readiness:PACKAGE_MANAGER",
    "disk": "runner.facts.readiness:DISK",
    "clock": "runner.facts.clock:CLOCK",
    "reboot_required": "runner.facts.readiness:REBOOT_REQUIRED",
    "xids": "runner.facts.xids:XIDS",
    "kubernetes": "runner.facts.kubernetes:KUBERNETES",
}
"""Fact name -> "module:ATTRIBUTE"."""


def load_fact(name: str) -> Fact:
    """The fact of that name. Raises KeyError for an unknown one."""
    path, _, attribute = FACTS[name].partition(":")
    fact: Fact = getattr(importlib.import_module(path), attribute)
    return fact
