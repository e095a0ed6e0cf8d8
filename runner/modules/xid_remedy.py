"""`xid_remedy`: what the XIDs of a node ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runner.facts import xid_history
from runner.facts.gpu_health import GPU_HEALTH, HEALTH_KEY, Health
from runner.facts.xid_catalog import catalog
from runner.facts.xid_history import Attempt
from runner.facts.xids import XIDS, XIDS_KEY, KernelLog
from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Refused
from runner.modules.xid_decision import (
    ACTIONS,
    Decision,
    Limits,
    Rung,
    Uncatalogued,
    decide,
    power_cycles,
)

HOUR = 3600.0


class OwnEntry(BaseModel):
    """What a site says of one XID; what is left out stays as NVIDIA says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meaning: str = Field("", description="What it is.")
    immediate: str = Field("", description="What to do at once: one of NVIDIA's names.")
    investigatory: str = Field("", description="What to look into when it comes again.")
    fatal: bool = Field(False, description="The GPU cannot be used before something is done.")

    @field_validator("immediate")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ACTIONS:
            raise ValueError(f"{value}: none of {', '.join(filter(None, ACTIONS))}")
        return value


class XidRemedyArguments(Arguments):
    since_hours: float = Field(24.0, gt=0, description="Older reports do not count.")
    period_hours: float = Field(
        24.0, gt=0, description="In which resets and reboots for the same XID are counted."
    )
    max_resets: int = Field(
        1, ge=0, description="Resets of one GPU for one XID in a period; the next time: a reboot."
    )
    max_reboots: int = Field(
        2,
        ge=0,
        description="Reboots of the node for one XID in a period; then: a power cycle, if one is "
        "allowed, or hand over.",
    )
    max_power_cycles: int = Field(
        0,
        ge=0,
        description="Power cycles of the node for one XID in a period; then: hand over. 0: there "
        "is nothing that switches its power.",
    )
    xid_catalog: dict[int, OwnEntry] = Field(
        default_factory=dict,
        description="A site's own word on XIDs: number to `meaning`, `immediate`, "
        "`investigatory`, `fatal`; the rest is as NVIDIA's catalogue says.",
    )


class XidRemedy(Module[XidRemedyArguments]):
    """Decides what the XIDs of this boot ask for, and changes nothing: tasks after it act on what
    it registers.

    The ladder: observe, restart the workload, reset that GPU, reboot, power cycle, hand over to a
    person. What a GPU asks for comes from NVIDIA's catalogue (`gpurun doc facts`: `facts.xids`)
    with the site's own `xid_catalog` over it; what the driver itself asks for (XID 154,
    `gpu_recovery_action`) wins over both. A GPU off the bus is never reset. A row of memory that
    waits for its replacement asks for a reset. The same XID again after `max_resets` resets of that
    GPU asks for a reboot, after `max_reboots` reboots for a power cycle, where `max_power_cycles`
    allows one, or for a hand-over; `xid_record` keeps the count on the node. An XID that no
    catalogue knows, and about which the driver says nothing, is refused.

    Registered: `action` (the highest rung on the node: `none`, `observe`, `restart_workload`,
    `reset_gpu`, `reboot`, `power_cycle` or `hand_over`), `reason`, `gpus` (each with something to
    say: `pci`, `uuid`, `action`, `why`, `xids`), `reset` (UUIDs), `pods` (UIDs), `code` (the XID
    that decided), `power_cycles_left` (for that XID in the period, should a reboot not bring the
    node back), and `attempts`, for `xid_record`.

    Sources: NVIDIA's XID catalogue and error recovery guide; the number of reboots as in gpud.
    """

    name = "xid_remedy"
    arguments = XidRemedyArguments
    changes_nothing = True
    examples = (
        """\
- name: what the XIDs of the last two hours ask for
  xid_remedy:
    since_hours: 2
    xid_catalog:
      63: {immediate: RESET_GPU}
  register: remedy
""",
    )

    def probes(self, args: XidRemedyArguments, context: Context) -> Sequence[Probe]:
        assert XIDS.probe and GPU_HEALTH.probe
        return (
            replace(XIDS.probe, become=context.become),
            replace(GPU_HEALTH.probe, become=context.become),
            xid_history.history_probe(context.become),
        )

    def plan(
        self, args: XidRemedyArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        health: Health = observed[HEALTH_KEY]
        log: KernelLog = observed[XIDS_KEY]
        limits = Limits(
            args.since_hours * HOUR,
            args.period_hours * HOUR,
            args.max_resets,
            args.max_reboots,
            args.max_power_cycles,
        )
        own = {
            code: entry.model_dump(exclude_unset=True) for code, entry in args.xid_catalog.items()
        }
        history: tuple[Attempt, ...] = observed[xid_history.HISTORY_KEY]
        try:
            decisions = decide(health, log, history, catalog(own), limits)
        except Uncatalogued as error:
            raise Refused(str(error)) from None
        _refuse_silence(health, decisions)
        told = [one for one in decisions if one.rung > Rung.NONE]
        result = _result(told, log)
        cuts = power_cycles(result["code"], log, history, limits)
        result["power_cycles_left"] = max(0, limits.power_cycles - len(cuts))
        return Outcome(result=result, messages=tuple(map(_shown, told)))


def _refuse_silence(health: Health, decisions: Sequence[Decision]) -> None:
    """Without a driver nothing is known of the GPUs, and a reboot may not bring it back."""
    if health.silence and not any(one.rung >= Rung.REBOOT for one in decisions):
        raise Refused(
            f"nvidia-smi shows no GPU: {health.silence}; see `gpurun facts driver`, and "
            "playbooks/driver-reload.yaml"
        )


def _shown(one: Decision) -> str:
    return f"{one.gpu.name}: {one.rung.name.lower().replace('_', ' ')}: {one.why}"


def _result(told: Sequence[Decision], log: KernelLog) -> dict[str, Any]:
    rung = max((one.rung for one in told), default=Rung.NONE)
    deciding = [one for one in told if one.rung is rung]
    return {
        "action": rung.name.lower(),
        "code": deciding[0].code if deciding else 0,
        "reason": "; ".join(f"{one.gpu.name}: {one.why}" for one in deciding),
        "gpus": [
            {
                "pci": one.gpu.pci,
                "uuid": one.gpu.uuid,
                "action": one.rung.name.lower(),
                "why": one.why,
                "xids": list(one.xids),
            }
            for one in told
        ],
        "reset": [one.gpu.uuid for one in deciding if rung is Rung.RESET_GPU],
        "pods": [pod for one in deciding if rung is Rung.RESTART_WORKLOAD for pod in one.pods],
        "attempts": _attempts(deciding, log),
    }


def _attempts(deciding: Sequence[Decision], log: KernelLog) -> list[dict[str, Any]]:
    """What is to be kept of the remedy that follows."""
    actions: dict[Rung, Literal["reset_gpu", "reboot", "power_cycle"]] = {
        Rung.RESET_GPU: "reset_gpu",
        Rung.REBOOT: "reboot",
        Rung.POWER_CYCLE: "power_cycle",
    }
    return [
        {
            "gpu": one.gpu.pci,
            "code": one.code,
            "action": actions[one.rung],
            "boot_id": log.boot_id,
            "upto": one.upto,
            "when": log.clock,
        }
        for one in deciding
        if one.rung in actions
    ]
