"""What a node has before its driver is changed: what is kept of it and what stays. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from runner.facts import driver_history
from runner.facts.driver_history import (
    BEFORE_KEY,
    GPUS_SEEN_KEY,
    SERVICES_KEY,
    Before,
    GpuBefore,
    Services,
)
from runner.facts.gpu_models import keeps_mig_mode
from runner.facts.nvidia import DRIVER_KEY, Driver, Gpu, Gpus
from runner.modules.base import Refused
from runner.modules.mig import overlaid
from runner.modules.mig_geometry import OFF, Geometry, Step, step_for


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


def remembered(gpu: GpuBefore) -> Gpu:
    """A GPU that nvidia-smi does not show now, from what was kept of it."""
    on = None if gpu.mig is None else gpu.mig != "off"
    return Gpu(
        gpu.index,
        gpu.uuid,
        gpu.product,
        gpu.pci,
        gpu.device,
        mig_capable=on is not None,
        mig_mode_current=on,
        mig_mode_pending=on,
        persistence_mode=gpu.persistence,
    )


def reloaded(gpu: Gpu, persistence_daemon: bool) -> Gpu:
    """A GPU after its driver was loaded anew."""
    mode = gpu.mig_mode_pending
    if mode and not keeps_mig_mode(gpu.device):
        mode = False
    return dataclasses.replace(
        gpu,
        mig_mode_current=mode,
        mig_mode_pending=mode,
        instances=(),
        processes=(),
        persistence_mode=persistence_daemon,
    )


def step_back(had: GpuBefore, gpu: Gpu) -> Step | None:
    """What a GPU needs to have its MIG geometry again; None: it has no MIG."""
    if had.mig is None:
        return None
    if had.mig == "off":
        return step_for(gpu, OFF)
    return step_for(gpu, Geometry(True, tuple(sorted(had.mig.items()))))


def still_driven(observed: Mapping[str, Any]) -> Gpus | None:
    """GPUs that nvidia-smi does not show, because its libraries do not fit the loaded driver, as
    that driver has them: it loses nothing in the boot in which the record was made.

    None where nvidia-smi shows them, and where there is no record.
    """
    known: Before | None = observed[BEFORE_KEY]
    if observed[GPUS_SEEN_KEY] or known is None:
        return None
    gpus = Gpus([remembered(had) for had in known.gpus])
    if known.boot_id != observed["boot_id"]:
        daemon = "nvidia-persistenced" in observed[SERVICES_KEY].active
        return Gpus([reloaded(gpu, daemon) for gpu in gpus])
    steps = [step_back(had, gpu) for had, gpu in zip(known.gpus, gpus, strict=True)]
    return overlaid(gpus, [step for step in steps if step])
