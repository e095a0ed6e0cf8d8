"""Keeping what a node has before its driver is changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.facts import driver_history
from runner.facts.driver_history import BEFORE_KEY, GPUS_SEEN_KEY, SERVICES_KEY, Before, Services
from runner.facts.nvidia import DRIVER_KEY, Driver, Gpus
from runner.modules.base import Refused


def works(observed: Mapping[str, Any]) -> bool:
    """Whether the driver works and shows its GPUs, so that they are as they should be."""
    driver: Driver = observed[DRIVER_KEY]
    return bool(observed[GPUS_SEEN_KEY]) and not driver.reason and driver.mismatch is not True


def new_record(observed: Mapping[str, Any]) -> Before | None:
    """What has to be kept; None where an unfinished change has kept it already, and where the
    driver does not work, so that it cannot be known.

    Raises:
        Refused: a GPU has what could not be made again.
    """
    open_record: Before | None = observed[BEFORE_KEY]
    if open_record is not None or not works(observed):
        return None
    gpus: Gpus = observed[GPUS_SEEN_KEY]
    split = [gpu for gpu in gpus if any(not one.whole for one in gpu.instances)]
    if split:
        names = ", ".join(str(gpu.index) for gpu in split)
        raise Refused(
            f"GPU {names} has MIG instances that were split by hand into compute instances; they "
            "are lost with the driver and could not be made again. Destroy them first "
            "(`nvidia-smi mig -dci`, or the module `mig`)"
        )
    services: Services = observed[SERVICES_KEY]
    return driver_history.before(gpus, services, observed["boot_id"])
