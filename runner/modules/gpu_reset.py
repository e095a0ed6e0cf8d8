"""`gpu_reset`: GPUs whose driver asks for it are reset, and answer again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Annotated, Any

from pydantic import Field

from runner.facts import driver_history, gpu_users
from runner.facts.driver_history import BEFORE_KEY, GPUS_SEEN_KEY, SERVICES_KEY, Before, Services
from runner.facts.gpu_links import LINKS_KEY, GpuLinks, links_probe, pci_address
from runner.facts.gpu_users import GpuUsers
from runner.facts.nvidia import DRIVER, DRIVER_KEY, GPUS_KEY, Driver, Gpu, Gpus
from runner.facts.pci import PCI_GPUS, PciGpu
from runner.facts.system import BOOT_ID
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
    Unknown,
)
from runner.modules.driver_before import new_record
from runner.modules.gpu_reset_shell import script
from runner.modules.mig import Selector, select

RESETS = ("Reset", "Drain and Reset")
"""What a driver says of a GPU that a reset brings back."""
NO_RESETS = ("None", "Drain P2P")
"""What it says of one that needs none."""
KEPT_RUNNING = ("nvidia-fabricmanager", "nvidia-imex")
"""Services of the driver that a reset needs, or that hold no GPU."""
_GPU_FILE = re.compile(r"/dev/nvidia\d+")


class GpuResetArguments(Arguments):
    gpus: Annotated[
        Selector | list[Selector],
        Field(description="Which GPUs: all, an index, a UUID, a product name, or a list of them"),
    ] = "all"
    because: str = Field(
        "",
        description="Why also GPUs that do not ask for it are reset, in every apply of the task.",
    )


class GpuReset(Module[GpuResetArguments]):
    """Resets GPUs whose driver asks for it, and sees that they answer again.

    The driver asks with its recovery action `Reset` or `Drain and Reset` (before R560 or so: `GPU
    Reset Status`); a GPU that does not ask is left alone. `because` names another reason, such as
    an Xid, and resets every GPU of `gpus`, in every apply: give the task a `when`.

    Refused are: a node with a GPU that has fallen off the bus (Xid 79, or rev ff in lspci: only a
    power cycle brings it back), a GPU whose driver asks for a reboot, MIG instances that were split
    by hand, and a GPU that a process of no pod has open, which no drain ends: it is named with what
    ends it. GPUs that can only be reset together are: those of Ampere behind NVSwitches while
    no fabric manager runs, and older ones joined by NVLinks.

    A reset needs GPUs that nobody has open. Services of the driver (nvidia-persistenced, dcgm,
    nvsm) are stopped and started around it, persistence mode is off meanwhile; a process that is
    still there makes the task fail before anything is reset, with its name and what ends it. MIG
    instances are lost. As with a change of the driver, what there was is kept on the host first,
    and `gpu_restore`, which belongs behind this task, makes it again.

    The disruption is `gpu`, the risk high. Sources: nvidia-smi(1), --gpu-reset; NVIDIA's "GPU
    Debug Guidelines". An unhealthy GPU stays unhealthy for the device plugin until that restarts:
    notify its restart.
    """

    name = "gpu_reset"
    arguments = GpuResetArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    examples = (
        """\
- name: GPUs whose driver asks for a reset
  gpu_reset: {}
""",
        """\
- name: the GPU with a memory error
  gpu_reset:
    gpus: [GPU-3c5a9ad1-5a4c-4a2c-8f0e-0f1c1d0a7b11]
    because: Xid 95
""",
    )

    def probes(self, args: GpuResetArguments, context: Context) -> Sequence[Probe]:
        assert DRIVER.probe and BOOT_ID.probe and PCI_GPUS.probe
        become = context.become
        return (
            driver_history.gpus_seen_probe(become),
            replace(PCI_GPUS.probe, become=become),
            links_probe(become),
            replace(DRIVER.probe, become=become),
            driver_history.services_probe(become),
            driver_history.before_probe(become),
            replace(BOOT_ID.probe, become=become),
            gpu_users.probe(become),
        )

    def plan(
        self, args: GpuResetArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        if args.gpus == []:
            return Outcome(result={"gpus": []})
        gpus = _shown(observed)
        wanted = [gpu for gpu in select(gpus, args.gpus) if _wanted(gpu, args, context)]
        if not wanted:
            return Outcome(result={"gpus": []})
        _refuse_reboot(wanted)
        _refuse_fallen(_fallen(observed))
        together, why = _together(gpus, wanted, observed)
        _refuse_users(together, observed)
        change = _change(together, args.because or _reason(wanted), why, observed, context)
        return Outcome(
            (change,),
            result={"gpus": [gpu.uuid for gpu in together]},
            messages=tuple(_in_use(together)),
        )


def _shown(observed: Mapping[str, Any]) -> Gpus:
    """The GPUs. Raises Refused, Unknown where nvidia-smi does not show them all."""
    gpus: Gpus | None = observed[GPUS_SEEN_KEY]
    if gpus:
        return gpus
    _refuse_fallen(_fallen(observed))
    driver: Driver = observed[DRIVER_KEY]
    raise Unknown(f"nvidia-smi does not show the GPUs: {driver.reason or 'no reason given'}")


def _wanted(gpu: Gpu, args: GpuResetArguments, context: Context) -> bool:
    """Whether a GPU is to be reset; one that has been, for a reason of the task's, is not again."""
    if args.because and (context.notified or gpu.recovery_action is None):
        return context.notified
    return _asks(gpu)


def _asks(gpu: Gpu) -> bool:
    """Whether the driver asks for a reset, or for more. Raises Unknown where it does not say."""
    action = gpu.recovery_action
    if action is None:
        raise Unknown(
            f"driver {gpu.driver or '(version unknown)'} does not say whether GPU {gpu.index} "
            "needs a reset; name a reason in `because` to reset it all the same"
        )
    if action not in (*RESETS, *NO_RESETS) and not _needs_reboot(gpu):
        raise Unknown(
            f"the driver asks for {action!r} of GPU {gpu.index}, which gpurun does not know; see "
            "nvidia-smi(1), gpu_recovery_action"
        )
    return action not in NO_RESETS


def _needs_reboot(gpu: Gpu) -> bool:
    return "Reboot" in (gpu.recovery_action or "")


def _refuse_reboot(wanted: Sequence[Gpu]) -> None:
    reboot = [gpu for gpu in wanted if _needs_reboot(gpu)]
    if reboot:
        raise Refused(
            f"the driver asks for a reboot of the node, for GPU {_indexes(reboot)}: a reset is not "
            "enough (module `reboot`)"
        )


def _fallen(observed: Mapping[str, Any]) -> frozenset[str]:
    """PCI addresses of GPUs that have fallen off the bus, as the bus or the kernel log says."""
    assert PCI_GPUS.probe
    on_bus: tuple[PciGpu, ...] = observed[PCI_GPUS.probe.key]
    links: GpuLinks = observed[LINKS_KEY]
    return links.fallen | {pci_address(gpu.pci) for gpu in on_bus if not gpu.answers}


def _refuse_fallen(fallen: frozenset[str]) -> None:
    if fallen:
        raise Refused(
            f"GPU {', '.join(sorted(fallen))} has fallen off the bus (Xid 79): no reset brings it "
            "back. Take the node out of service (playbook gpu-offline) and switch its power off "
            "and on (playbook power-cycle)"
        )


def _together(
    gpus: Gpus, wanted: Sequence[Gpu], observed: Mapping[str, Any]
) -> tuple[Sequence[Gpu], str]:
    """The GPUs that have to be reset in one command, and why there are more than are wanted."""
    links: GpuLinks = observed[LINKS_KEY]
    services: Services = observed[SERVICES_KEY]
    if len(wanted) == len(gpus):
        return wanted, ""
    if any(gpu.device.startswith("20") for gpu in wanted):
        managed = "nvidia-fabricmanager" in services.active
        if links.switches and not managed:
            return gpus, "all, as they are behind NVSwitches and no fabric manager runs"
    elif any(_before_ampere(gpu) for gpu in wanted) and links.active is not False:
        if links.active is None:
            raise Unknown(
                "whether the GPUs are joined by NVLinks, and so have to be reset together, is not "
                "known (`nvidia-smi nvlink -s`); select all of them"
            )
        return gpus, "all, as they are joined by NVLinks"
    return wanted, ""


def _stopped(observed: Mapping[str, Any]) -> tuple[str, ...]:
    """Services of the driver that are stopped and started around a reset."""
    services: Services = observed[SERVICES_KEY]
    return tuple(name for name in services.active if name not in KEPT_RUNNING)


def _refuse_users(gpus: Sequence[Gpu], observed: Mapping[str, Any]) -> None:
    """Processes that neither a drain nor the reset itself ends."""
    users: GpuUsers = observed[gpu_users.KEY]
    units = {f"{name}.service" for name in _stopped(observed)}
    files = {f"/dev/nvidia{gpu.minor}" for gpu in gpus}
    every = any(gpu.minor is None for gpu in gpus)
    stay = [
        f"{user}: {gpu_users.ended_by(user)}"
        for user in users.users
        if not user.pod
        and user.unit not in units
        and any(file in files or (every and _GPU_FILE.fullmatch(file)) for file in user.devices)
    ]
    if stay:
        raise Refused(
            f"GPU {_indexes(gpus)} cannot be reset, as no drain ends what has it open: "
            + "; ".join(stay)
        )


def _before_ampere(gpu: Gpu) -> bool:
    """By PCI device id: Pascal 15xx, 1Bxx; Volta 1Dxx; Turing 1Exx, 1Fxx, 21xx. Unknown counts."""
    return not gpu.device or gpu.device[0] == "1" or gpu.device.startswith("21")


def _reason(wanted: Sequence[Gpu]) -> str:
    actions = sorted({str(gpu.recovery_action) for gpu in wanted})
    return f"the driver asks for: {', '.join(actions)}"


def _in_use(gpus: Sequence[Gpu]) -> list[str]:
    """Who uses them now: a drain has to end these before."""
    return [
        f"GPU {gpu.index} is used by "
        + ", ".join(f"{one.name} (pid {one.pid})" for one in gpu.processes)
        for gpu in gpus
        if gpu.processes
    ]


def _indexes(gpus: Sequence[Gpu]) -> str:
    return ", ".join(str(gpu.index) for gpu in gpus)


def _change(
    gpus: Sequence[Gpu], reason: str, why: str, observed: Mapping[str, Any], context: Context
) -> Change:
    record: Before | None = new_record(observed)
    stop = _stopped(observed)
    keep = (driver_history.keep("gpus.json", record, context.become),) if record else ()
    reset = context.command("reset", script(gpus, stop), 300.0)
    seen: Gpus = observed[GPUS_SEEN_KEY]
    after = Gpus([_after(gpu) if gpu in gpus else gpu for gpu in seen])
    more = f" ({why})" if why else ""
    return Change(
        summary=f"GPU {_indexes(gpus)}: reset{more}, {reason}"
        + (f"; stopping and starting {', '.join(stop)}" if stop else ""),
        do=(*keep, reset),
        guard=_guard(gpus),
        risk=Risk.HIGH,
        disruption=Disruption.GPU,
        before={f"{gpu.index} {gpu.uuid}": gpu.recovery_action or "unknown" for gpu in gpus},
        after={f"{gpu.index} {gpu.uuid}": "None" for gpu in gpus},
        overlay={
            GPUS_SEEN_KEY: after,
            GPUS_KEY: after,
            **({BEFORE_KEY: record} if record else {}),
        },
    )


def _after(gpu: Gpu) -> Gpu:
    """A GPU after its reset: a mode of MIG that was pending is taken, no instance is left."""
    return replace(
        gpu,
        mig_mode_current=gpu.mig_mode_pending,
        instances=(),
        processes=(),
        recovery_action="None",
    )


def _guard(gpus: Sequence[Gpu]) -> str:
    """These GPUs still answer, in the places where they were seen."""
    lines = "\n".join(sorted(f"{gpu.uuid}, {gpu.pci}" for gpu in gpus))
    uuids = ",".join(gpu.uuid for gpu in gpus)
    return (
        f'[ "$(nvidia-smi -i {quote(uuids)} --query-gpu=uuid,pci.bus_id --format=csv,noheader |\n'
        f'    LC_ALL=C sort)" = {quote(lines)} ]'
    )
