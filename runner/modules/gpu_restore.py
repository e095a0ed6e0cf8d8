"""`gpu_restore`: GPUs and the driver's services as they were before the driver was changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from runner.facts import driver_history
from runner.facts.driver_history import (
    BEFORE_KEY,
    GPUS_SEEN_KEY,
    SERVICES_KEY,
    Before,
    Services,
)
from runner.facts.fabric_manager import FABRIC_MANAGER, FABRIC_MANAGER_KEY, UNIT, FabricManager
from runner.facts.nvidia import DRIVER, DRIVER_KEY, GPUS_KEY, Driver, Gpu, Gpus
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
from runner.modules.driver_before import step_back
from runner.modules.driver_reload import is_loaded
from runner.modules.mig import change_of
from runner.modules.mig_geometry import Step


class GpuRestoreArguments(Arguments):
    """None."""


class GpuRestore(Module[GpuRestoreArguments]):
    """Gives GPUs and the driver's services what they had before the driver was changed.

    `nvidia_driver`, `driver_reload`, `gpu_reset` and `gpu_record` keep what they find on a node
    that works: each GPU's MIG geometry and persistence mode, and which of the driver's services
    are active. MIG instances are lost with the driver, and on Hopper and later MIG mode too. This
    module makes them again, and ends the change: only then what was kept is removed. Where nothing
    is kept there is nothing to do, so it also finishes what an interrupted run has left.

    A node that has not all the GPUs it had, a service that does not become active and new Xids in
    the kernel log make it fail. A fabric manager that did not run before, though it should at boot,
    is started where GPUs wait for it: it may not have fitted the driver from before.
    """

    name = "gpu_restore"
    arguments = GpuRestoreArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    examples = ("- name: MIG, persistence mode and services as before\n  gpu_restore: {}\n",)

    def probes(self, args: GpuRestoreArguments, context: Context) -> Sequence[Probe]:
        assert DRIVER.probe and FABRIC_MANAGER.probe
        become = context.become
        return (
            replace(DRIVER.probe, become=become),
            driver_history.gpus_seen_probe(become),
            driver_history.services_probe(become),
            driver_history.before_probe(become),
            replace(FABRIC_MANAGER.probe, become=become),
        )

    def plan(
        self, args: GpuRestoreArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        before: Before | None = observed[BEFORE_KEY]
        if before is None:
            return Outcome()
        gpus = _present(before, observed)
        return Outcome((*_changes(before, gpus, observed, context), _finish(before, context)))


def _present(before: Before, observed: Mapping[str, Any]) -> Gpus:
    """The GPUs as they are now. Raises Refused, Unknown."""
    driver: Driver = observed[DRIVER_KEY]
    gpus: Gpus | None = observed[GPUS_SEEN_KEY]
    if not is_loaded(driver):
        raise Refused(
            f"the driver on disk ({driver.installed or 'none'}) is not the loaded one "
            f"({driver.loaded or 'none'}): `driver_reload` or a reboot comes first"
        )
    if not gpus:
        raise Unknown(f"nvidia-smi does not show the GPUs: {driver.reason or 'no reason given'}")
    lost = {gpu.uuid: gpu for gpu in before.gpus}.keys() - {gpu.uuid for gpu in gpus}
    if lost:
        shown = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in before.gpus if gpu.uuid in lost)
        raise Refused(f"GPUs that were here before do not answer now: {shown}; see dmesg for Xids")
    return gpus


def _changes(
    before: Before, gpus: Gpus, observed: Mapping[str, Any], context: Context
) -> Iterator[Change]:
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    pairs = [(had, by_uuid[had.uuid]) for had in before.gpus]
    steps = [step for step in (step_back(had, gpu) for had, gpu in pairs) if step and step.needed]
    if steps:
        yield _mig(gpus, steps)
    cold = [gpu for had, gpu in pairs if had.persistence and gpu.persistence_mode is False]
    services: Services = observed[SERVICES_KEY]
    idle = [name for name in before.services if name not in services.active]
    if UNIT not in idle and _waits_for_fabric(gpus, observed[FABRIC_MANAGER_KEY]):
        idle.append(UNIT)
    if idle:
        yield _start(idle, services, context)
    if cold and "nvidia-persistenced" not in idle:
        yield _persistence(cold, context)


def _waits_for_fabric(gpus: Gpus, manager: FabricManager) -> bool:
    waits = any(gpu.fabric not in (None, "Completed") for gpu in gpus)
    return waits and manager.enabled and not manager.active


def _mig(gpus: Gpus, steps: Sequence[Step]) -> Change:
    change = change_of(gpus, steps)
    return replace(change, overlay={**change.overlay, GPUS_SEEN_KEY: change.overlay[GPUS_KEY]})


def _start(names: Sequence[str], services: Services, context: Context) -> Change:
    lines = [
        f"systemctl start {name} || {{ systemctl status --no-pager -n 5 {name} >&2; exit 1; }}"
        for name in map(quote, names)
    ]
    active = (*services.active, *names)
    return Change(
        summary=f"start {', '.join(names)}",
        do=(context.command("start", "\n".join(lines)),),
        disruption=Disruption.SERVICE,
        before=dict.fromkeys(names, "inactive"),
        after=dict.fromkeys(names, "active"),
        overlay={SERVICES_KEY: replace(services, active=active)},
    )


def _persistence(gpus: Sequence[Gpu], context: Context) -> Change:
    uuids = ",".join(gpu.uuid for gpu in gpus)
    return Change(
        summary=f"GPU {', '.join(str(gpu.index) for gpu in gpus)}: persistence mode on",
        do=(context.command("persistence", f"nvidia-smi -i {quote(uuids)} -pm 1"),),
        before={str(gpu.index): "off" for gpu in gpus},
        after={str(gpu.index): "on" for gpu in gpus},
    )


def _finish(before: Before, context: Context) -> Change:
    """The end of it: seen once more on the host, with what happened since the plan was made."""
    path = f"{driver_history.FOLDER}/gpus.json"
    shell = _FINISH.format(
        uuids=" ".join(quote(gpu.uuid) for gpu in before.gpus),
        services=" ".join(map(quote, before.services)),
        boot=quote(before.boot_id),
        xids=before.xids or 0,
        path=path,
    )
    return Change(
        summary="see that GPUs and services are as before, then remove what was kept of them",
        do=(context.command("finish", shell),),
        guard=f"[ -e {path} ]",
        before={path: "there"},
        after={path: "gone"},
        overlay={BEFORE_KEY: None},
    )


_FINISH = """\
LC_ALL=C; export LC_ALL
fail() {{ printf '%s\\n' "$@" >&2; exit 1; }}
listed=$(nvidia-smi -L) || fail 'nvidia-smi does not list the GPUs' "$listed"
for u in {uuids}; do
    case $listed in *"$u"*) ;; *) fail "GPU $u, which was here before, does not answer" ;; esac
done
for s in {services}; do
    systemctl is-active -q "$s" ||
        fail "$s was active before and is not" "$(systemctl status --no-pager -n 5 "$s")"
done
known={xids}
[ "$(cat /proc/sys/kernel/random/boot_id)" = {boot} ] || known=0
log=$(dmesg) || fail 'the kernel log cannot be read: whether there are new Xids is not known'
now=$(printf '%s\\n' "$log" | grep 'NVRM: Xid' | grep -vc '): 154,')
[ "$now" -le "$known" ] ||
    fail 'the kernel log has new Xids' "$(printf '%s\\n' "$log" | grep 'NVRM: Xid' | tail -n 5)"
rm -f {path}
"""
