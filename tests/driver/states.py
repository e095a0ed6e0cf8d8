"""Hosts as the driver's modules observe them: what apt and dpkg printed is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.facts import apt
from runner.facts.driver_history import (
    BEFORE_KEY,
    GPUS_SEEN_KEY,
    PREVIOUS_KEY,
    SERVICES_KEY,
    Services,
)
from runner.facts.driver_packages import DriverPackages, parse
from runner.facts.fabric_manager import FABRIC_MANAGER_KEY, FabricManager
from runner.facts.nvidia import DRIVER_KEY, Driver, Gpu, Gpus, Instance
from runner.hosts.script import Result
from runner.modules.base import Context, Outcome
from runner.modules.registry import load_module

OLD, NEW = "550.90.07", "570.86.15"
WORKING = Driver(OLD, OLD, False, "", "proprietary", "proprietary")
UPGRADED = Driver(NEW, OLD, True, "Driver/library version mismatch", "proprietary", "proprietary")
BOOT = "9c0b0f0e-0000-4000-8000-000000000001"
CONTEXT = Context("gpu1", notified=True)


def look(name: str = "look_550_to_570", *edits: tuple[str, str]) -> DriverPackages:
    """What the look at the packages printed, edited."""
    text = Path(__file__).with_name(f"{name}.txt").read_text()
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return parse(Result(0, text.encode()))


def gpu(index: int, device: str = "2330", slices: int = 0, **more: Any) -> Gpu:
    """A GPU, by default an H100 without MIG."""
    product = "NVIDIA H100 80GB HBM3" if device == "2330" else "NVIDIA A100-SXM4-80GB"
    made = tuple(Instance("1g.10gb", f"{n}:1", n + 7, ("1g.10gb",)) for n in range(slices))
    on = bool(slices)
    state: dict[str, Any] = {
        "mig_capable": True,
        "mig_mode_current": on,
        "mig_mode_pending": on,
        "instances": made,
        "persistence_mode": True,
        **more,
    }
    return Gpu(index, f"GPU-{index}", product, f"00000000:0{index + 1}:00.0", device, **state)


def host(
    driver: Driver = WORKING,
    gpus: Gpus | None = None,
    active: tuple[str, ...] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An observation of all that the driver's modules look at."""
    return {
        DRIVER_KEY: driver,
        GPUS_SEEN_KEY: gpus,
        SERVICES_KEY: Services(active, ("nvidia", "nvidia_uvm"), 0),
        FABRIC_MANAGER_KEY: FabricManager(),
        BEFORE_KEY: None,
        PREVIOUS_KEY: None,
        "boot_id": BOOT,
        apt.PLANNED: {},
        **(more or {}),
    }


def plan(module: str, observed: dict[str, Any], **arguments: Any) -> Outcome:
    loaded = load_module(module)
    return loaded.plan(loaded.arguments.model_validate(arguments), observed, CONTEXT)


def with_packages(observed: dict[str, Any], state: DriverPackages, **arguments: Any) -> Any:
    """The observation with a look at the packages under the key that a task's arguments give it."""
    loaded = load_module("nvidia_driver")
    first, *_ = loaded.probes(loaded.arguments.model_validate(arguments), CONTEXT)
    return {**observed, first.key: state}
