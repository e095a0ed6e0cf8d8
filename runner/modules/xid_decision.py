"""What is to be done about the XIDs of a node: a pure function of what was seen.

The rungs of the ladder, from what NVIDIA's catalogue says at once to do (`RULES`), under what the
driver itself asks for (XID 154, `gpu_recovery_action`), and one rung higher where the last remedy
did not help.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.facts.gpu_health import GpuHealth, Health
from runner.facts.xid_catalog import Entry
from runner.facts.xid_history import Attempt
from runner.facts.xids import OFF_THE_BUS, RECOVERY_ACTION, KernelLog, Xid

REMAPPED, REMAP_FAILED = 63, 64


class Rung(enum.IntEnum):
    """What is done, rising."""

    NONE = 0
    OBSERVE = 1
    RESTART_WORKLOAD = 2
    RESET_GPU = 3
    REBOOT = 4
    POWER_CYCLE = 5
    """Where a command that switches the power is configured, and reboots did not help."""
    HAND_OVER = 6
    """No more new work for the node; a person has to look at it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far back to look, and how often a remedy is tried in a period.

    Args:
        since: seconds; older reports do not count.
        period: seconds in which remedies are counted.
        resets: of one GPU for one XID.
        reboots: of the node for one XID.
        power_cycles: likewise; 0: nothing is configured that switches the power.
    """

    since: float = 86400.0
    period: float = 86400.0
    resets: int = 1
    reboots: int = 2
    power_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one report, or the state of a GPU, asks for, and why."""

    rung: Rung
    why: str
    code: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one GPU.

    Args:
        code: the XID that decided; 0 with nothing to do.
        pods: UIDs of the pods whose processes the reports name.
        upto: seconds since boot: the last report that was counted; 0 without one.
    """

    gpu: GpuHealth
    rung: Rung
    why: str = ""
    code: int = 0
    xids: tuple[int, ...] = ()
    pods: tuple[str, ...] = ()
    upto: float = 0.0


RULES: Mapping[str, Rung] = {
    "IGNORE": Rung.OBSERVE,
    "CHECK_UVM": Rung.OBSERVE,
    "UPDATE_SWFW": Rung.OBSERVE,
    "WORKFLOW_XID_45": Rung.OBSERVE,
    "RESTART_APP": Rung.RESTART_WORKLOAD,
    "RESET_GPU": Rung.RESET_GPU,
    "WORKFLOW_XID_48": Rung.RESET_GPU,
    "WORKFLOW_NVLINK_ERR": Rung.RESET_GPU,
    "RESTART_VM": Rung.REBOOT,
    "RESTART_BM": Rung.REBOOT,
    "CHECK_MECHANICALS": Rung.HAND_OVER,
    "HAND_OVER": Rung.HAND_OVER,
}
"""NVIDIA's name of an immediate action -> rung. Those that depend on more are in `ruling`."""

ACTIONS = (*RULES, "WORKFLOW_NVLINK5_ERR", "CONTACT_SUPPORT", "")
"""All that an entry of the catalogue may say."""

VERDICTS: Mapping[str, Rung] = {
    "Reset": Rung.RESET_GPU,
    "Drain and Reset": Rung.RESET_GPU,
    "Reboot": Rung.REBOOT,
    "System Reboot": Rung.REBOOT,
    "Drain P2P": Rung.HAND_OVER,
    "Recover IMEX Domain": Rung.HAND_OVER,
    "Bus Reset": Rung.HAND_OVER,
}
"""What a driver asks for -> rung."""


class Uncatalogued(Exception):
    """An XID that nobody said what to do about, and the driver does not either."""

    def __init__(self, xid: Xid) -> None:
        super().__init__(
            f"XID {xid.code} of GPU {xid.pci} is not in the catalogue ({xid.text[:120]!r}): say "
            f"what to do about it, such as xid_catalog: {{{xid.code}: {{immediate: IGNORE}}}}"
        )


def ruling(xid: Xid, entry: Entry) -> Ruling:
    """What the catalogue says about one report."""
    what = entry.immediate
    rung = RULES.get(what, Rung.OBSERVE)
    if what == "WORKFLOW_NVLINK5_ERR":
        rung = Rung.OBSERVE if xid.severity == "Nonfatal" else Rung.RESET_GPU
        what = f"{what}, {xid.severity.lower() or 'of unknown severity'}"
    elif what in ("CONTACT_SUPPORT", "") and entry.fatal:
        rung = Rung.HAND_OVER
    says = f"NVIDIA says {what}" if what else "NVIDIA names no action"
    return Ruling(rung, f"XID {xid.code} ({entry.meaning}): {says}", xid.code)


def decide(
    health: Health,
    log: KernelLog,
    history: Sequence[Attempt],
    catalog: Mapping[int, Entry],
    limits: Limits,
) -> tuple[Decision, ...]:
    """What is to be done about each GPU that is on the bus or has reports.

    Raises:
        Uncatalogued: see there.
    """
    known = {gpu.pci: gpu for gpu in health.gpus}
    gone = {xid.pci for xid in log.xids} - set(known)
    gpus = [*health.gpus, *(GpuHealth(pci, on_bus=False, answers=False) for pci in sorted(gone))]
    return tuple(
        _decide(gpu, _open(gpu, log, history, limits), log, history, catalog, limits)
        for gpu in gpus
    )


@dataclass(frozen=True, slots=True)
class _Reports:
    """The reports of one GPU that are not dealt with, and what its driver asked for last."""

    xids: tuple[Xid, ...] = ()
    verdict: str = ""
    codes: tuple[int, ...] = ()
    last: float = 0.0
    """Seconds since boot of the last line about it."""


def _open(gpu: GpuHealth, log: KernelLog, history: Sequence[Attempt], limits: Limits) -> _Reports:
    cured = max(
        (a.upto for a in history if a.done and (a.gpu, a.boot_id) == (gpu.pci, log.boot_id)),
        default=-1.0,
    )
    found: list[Xid] = []
    verdict, last = "", 0.0
    for xid in log.xids:
        age = log.age(xid)
        late = xid.seconds is None or xid.seconds > cured
        if xid.pci != gpu.pci or not late or (age is not None and age > limits.since):
            continue
        last = xid.seconds or last
        if xid.code == RECOVERY_ACTION:
            verdict = xid.recovery
            if verdict == "None":
                found = []  # the driver says itself that what was before is over
        else:
            found.append(xid)
    return _Reports(tuple(found), verdict, tuple(sorted({xid.code for xid in found})), last)


def _decide(
    gpu: GpuHealth,
    reports: _Reports,
    log: KernelLog,
    history: Sequence[Attempt],
    catalog: Mapping[int, Entry],
    limits: Limits,
) -> Decision:
    asked = _asked(gpu, reports, catalog)
    if asked is None:
        return Decision(gpu, Rung.NONE)
    asked = _possible(gpu, asked)
    asked = _escalated(gpu, asked, log, history, limits)
    pods: tuple[str, ...] = ()
    if asked.rung is Rung.RESTART_WORKLOAD:
        pods = _pods(reports.xids, log)
        if not pods:
            why = f"{asked.why}; the process that is named has ended, or is in no pod"
            asked = Ruling(Rung.OBSERVE, why, asked.code)
    return Decision(gpu, asked.rung, asked.why, asked.code, reports.codes, pods, reports.last)


def _asked(gpu: GpuHealth, reports: _Reports, catalog: Mapping[int, Entry]) -> Ruling | None:
    """What the GPU's state, its driver and its reports ask for; the driver's word counts first:
    what it says now, and what it said last where nvidia-smi does not tell."""
    if not gpu.on_bus or OFF_THE_BUS in reports.codes:
        why = "it has fallen off the bus, where no reset can help"
        return Ruling(Rung.REBOOT, why, OFF_THE_BUS)
    verdict = _verdict(gpu, reports)
    if verdict in VERDICTS:
        code = reports.xids[0].code if reports.xids else RECOVERY_ACTION  # the first is the cause
        return Ruling(VERDICTS[verdict], f"its driver asks for: {verdict}", code)
    rulings = _memory(gpu, reports.codes)
    for xid in reports.xids:
        if xid.code not in catalog:
            raise Uncatalogued(xid)
        rulings.append(ruling(xid, catalog[xid.code]))
    return max(rulings, key=lambda one: one.rung, default=None)


def _verdict(gpu: GpuHealth, reports: _Reports) -> str:
    """What the driver asks for: that it needs no reset says nothing of a reboot it has asked for,
    where it tells of resets only."""
    if gpu.recovery_action is None:
        return reports.verdict
    more = VERDICTS.get(reports.verdict) not in (None, Rung.RESET_GPU)
    if gpu.resets_only and gpu.recovery_action == "None" and more:
        return reports.verdict
    return gpu.recovery_action


def _memory(gpu: GpuHealth, codes: Sequence[int]) -> list[Ruling]:
    """What the state of the GPU's memory asks for."""
    if gpu.remap_failure:
        return [Ruling(Rung.HAND_OVER, "a row of its memory could not be replaced", REMAP_FAILED)]
    if gpu.remap_pending:
        why = "a row of its memory waits for a reset to be replaced"
        return [Ruling(Rung.RESET_GPU, why, REMAPPED)]
    if REMAPPED in codes and gpu.remap_pending is None:
        why = "a row of its memory was replaced; whether it waits for a reset is not known"
        return [Ruling(Rung.RESET_GPU, why, REMAPPED)]
    return []


def _possible(gpu: GpuHealth, asked: Ruling) -> Ruling:
    """A GPU that does not answer cannot be reset."""
    if asked.rung is Rung.RESET_GPU and not gpu.answers:
        why = f"{asked.why}; nvidia-smi does not show the GPU, so it cannot be reset"
        return Ruling(Rung.REBOOT, why, asked.code)
    return asked


def _escalated(
    gpu: GpuHealth, asked: Ruling, log: KernelLog, history: Sequence[Attempt], limits: Limits
) -> Ruling:
    """The next rung, where this one was tried often enough."""
    recent = [a for a in history if a.code == asked.code and log.clock - a.when <= limits.period]
    hours = f"{limits.period / 3600:g} h"
    resets = [a for a in recent if a.action == "reset_gpu" and a.gpu == gpu.pci]
    if asked.rung is Rung.RESET_GPU and len(resets) >= limits.resets:
        why = f"{asked.why}; {_times(len(resets))} reset for it in {hours}, which did not help"
        asked = Ruling(Rung.REBOOT, why, asked.code)
    boots = {a.boot_id for a in recent if a.action == "reboot"} - {log.boot_id}
    if asked.rung is Rung.REBOOT and len(boots) >= limits.reboots:
        why = f"{asked.why}; {_times(len(boots))} rebooted for it in {hours}, which did not help"
        higher = Rung.POWER_CYCLE if limits.power_cycles else Rung.HAND_OVER
        asked = Ruling(higher, why, asked.code)
    cuts = power_cycles(asked.code, log, history, limits)
    if asked.rung is Rung.POWER_CYCLE and len(cuts) >= limits.power_cycles:
        why = f"{asked.why}; its power was switched {_times(len(cuts))}, which did not help either"
        asked = Ruling(Rung.HAND_OVER, why, asked.code)
    return asked


def power_cycles(code: int, log: KernelLog, history: Sequence[Attempt], limits: Limits) -> set[str]:
    """The boots that a loss of power has ended for an XID in the period, but for this one."""
    return {
        a.boot_id
        for a in history
        if (a.code, a.action) == (code, "power_cycle")
        and log.clock - a.when <= limits.period
        and a.boot_id != log.boot_id
    }


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _pods(xids: Sequence[Xid], log: KernelLog) -> tuple[str, ...]:
    """The pods of the processes that are named; a process that began later has only their pid."""
    found: dict[str, None] = {}
    for xid in xids:
        process = log.processes.get(xid.pid) if xid.pid is not None else None
        if process and (xid.seconds is None or process.started <= xid.seconds):
            found[process.pod] = None
    return tuple(found)
