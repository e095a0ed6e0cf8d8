"""`power_cycle`: the host's power is switched off and on from outside."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from runner.facts.system import BOOT_ID, REACHABLE_KEY
from runner.hosts.script import Command
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Reboot,
    Refused,
    Risk,
)
from runner.modules.command import exported
from runner.modules.reboot import boot_change

BOOT_KEY = "power_cycle:boot_id"


class PowerCycleArguments(Arguments):
    command: tuple[str, ...] = Field(
        (),
        description="Program and arguments that switch the host's power off and on, such as "
        "ipmitool's; run on the machine that gpurun runs on, without a shell.",
    )
    command_timeout: float = Field(
        120.0, gt=0, description="Seconds until the command must have ended."
    )
    timeout: float = Field(900.0, gt=0, description="Seconds until the host must be back.")


class PowerCycle(Module[PowerCycleArguments]):
    """Switches the host's power off and on with a command of yours, and waits until another boot
    of it answers.

    For what no reboot cures: a GPU that has fallen off the bus (Xid 79). gpurun knows no BMC:
    `command` is the place for ipmitool, a Redfish client or a cloud's tool, and without one the
    task is refused. Secrets belong into the task's `environment` (`IPMI_PASSWORD` for `ipmitool
    -E`): an argument would show in `ps`, and is refused. The command has to end with 0 once the
    power is on again, or will be by itself; then the host has to come back with another boot id.

    Nothing is shut down: every pod goes first, file systems are as after a loss of power. The
    disruption is `reboot`, the risk high. Like `reboot` it acts in every apply, or when it is
    notified as a handler: give it a `when`.

    In a play with `ignore_unreachable`, and in the `rescue` of a `reboot` from which the host has
    not come back, the host need not answer before. Its boot id is not known then: it counts as
    another boot when its first process is younger than the command. A host that is off may need
    another command than one that hangs: many BMCs refuse `power cycle` for it.
    """

    name = "power_cycle"
    arguments = PowerCycleArguments
    risk = Risk.HIGH
    disruption = Disruption.REBOOT
    examples = (
        """\
- name: only a power cycle brings a lost GPU back
  power_cycle:
    command: [ipmitool, -I, lanplus, -H, "{{ bmc_address }}", -U, gpurun, -E, chassis, power, cycle]
  environment:
    IPMI_PASSWORD: "{{ bmc_password }}"
  when: facts.pci_gpus | rejectattr("answers") | list | length > 0
""",
    )

    def probes(self, args: PowerCycleArguments, context: Context) -> Sequence[Probe]:
        assert BOOT_ID.probe
        return (replace(BOOT_ID.probe, key=BOOT_KEY, become=context.become, unreached=""),)

    def plan(
        self, args: PowerCycleArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        boot_id: str = observed[BOOT_KEY]
        result = {"boot_id": boot_id}
        if not context.notified:
            return Outcome(result=result)
        if not args.command:
            raise Refused(
                "no command is configured that switches this host's power; give `command` (with "
                "the playbook power-cycle: set power_cycle_command in the inventory, a list like "
                "[ipmitool, -I, lanplus, -H, BMC, -U, USER, -E, chassis, power, cycle])"
            )
        return Outcome((_change(args, boot_id, context),), result=result)


def _change(args: PowerCycleArguments, boot_id: str, context: Context) -> Change:
    shown = shlex.join(args.command)
    shell, stdin = exported(context)
    command = Command("power_cycle", shell + shown, stdin, args.command_timeout, become=False)
    how = Reboot(context.seconds(args.timeout), command)
    change = boot_change(f"power cycle, from here: {shown}", how, boot_id)
    return replace(change, overlay={**change.overlay, BOOT_KEY: "", REACHABLE_KEY: ""})
