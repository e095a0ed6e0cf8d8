"""`reboot`: restart the host and go on when it is back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from runner.facts.driver_history import GPUS_SEEN_KEY, gpus_after_boot
from runner.facts.readiness import REBOOT_REQUIRED, REQUIRED_KEY, RebootRequired
from runner.facts.system import BOOT_ID
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Reboot,
    Risk,
)


class RebootArguments(Arguments):
    timeout: float = Field(600.0, gt=0, description="Seconds until the host must be back.")
    only_if_required: Annotated[bool, Field(strict=True)] = Field(
        False, description="Reboot only if the host asks for it (`/run/reboot-required` exists)."
    )


class RebootModule(Module[RebootArguments]):
    """Reboots the host and waits until another boot of it answers.

    A host counts as rebooted when its boot id is another one; how the connection ended says
    nothing. High risk; every pod must go first.

    As a handler it reboots when it is notified. As an ordinary task it reboots in every apply: use
    `when`, or `only_if_required: true` for what Debian and Ubuntu packages ask for.
    """

    name = "reboot"
    arguments = RebootArguments
    risk = Risk.HIGH
    disruption = Disruption.REBOOT
    examples = (
        """\
- name: reboot into the new driver
  reboot:
    timeout: 900
  when: facts.driver.loaded != facts.driver.installed
""",
        """\
- name: reboot where packages ask for it
  reboot:
    only_if_required: true
""",
    )

    def probes(self, args: RebootArguments, context: Context) -> Sequence[Probe]:
        assert BOOT_ID.probe and REBOOT_REQUIRED.probe
        return (
            replace(BOOT_ID.probe, become=context.become),
            replace(REBOOT_REQUIRED.probe, become=context.become),
        )

    def plan(self, args: RebootArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        boot_id: str = observed["boot_id"]
        required: RebootRequired = observed[REQUIRED_KEY]
        wanted = required.required if args.only_if_required else context.notified
        result = {"boot_id": boot_id, "required": required.required}
        if not wanted:
            return Outcome(result=result)
        asked = f" (asked for by {', '.join(required.packages)})" if required.packages else ""
        change = boot_change(f"reboot{asked}", Reboot(context.seconds(args.timeout)), boot_id)
        return Outcome((change,), result=result)


def boot_change(summary: str, how: Reboot, boot_id: str) -> Change:
    """Another boot of the host, by itself or by its power, and what is known after it.

    Args:
        boot_id: of the boot that it runs; "": not known.
    """
    return Change(
        summary=summary,
        do=(how,),
        guard=same_boot(boot_id),
        risk=Risk.HIGH,
        disruption=Disruption.REBOOT,
        before={"boot_id": boot_id or "unknown"},
        after={"boot_id": "known after change"},
        overlay={
            "boot_id": "",
            REQUIRED_KEY: RebootRequired(False),
            GPUS_SEEN_KEY: gpus_after_boot(),
        },
    )


def same_boot(boot_id: str) -> str:
    """Nobody else rebooted it meanwhile. After a planned reboot the id is not known: no guard."""
    if not boot_id:
        return ""
    return f'[ "$(cat /proc/sys/kernel/random/boot_id)" = {boot_id} ]'
