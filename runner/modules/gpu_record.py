"""`gpu_record`: what GPUs and the driver's services are like is kept, before a boot loses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.facts import driver_history
from runner.facts.driver_history import BEFORE_KEY, FOLDER
from runner.facts.nvidia import DRIVER
from runner.facts.system import BOOT_ID
from runner.hosts.script import Command
from runner.modules.base import Arguments, Change, Context, Module, Outcome, Probe
from runner.modules.driver_before import new_record


class GpuRecordArguments(Arguments):
    """None."""


class GpuRecord(Module[GpuRecordArguments]):
    """Keeps on the node each GPU's MIG geometry and persistence mode, and which of the driver's
    services are active.

    It belongs before a `reboot` or a `power_cycle`, and `gpu_restore` behind that: MIG instances do
    not outlive a boot, on Hopper and later MIG mode neither. `nvidia_driver`, `driver_reload` and
    `gpu_reset` keep the same by themselves. What an unfinished change has kept stays as it is. Of
    GPUs that nvidia-smi does not show nothing can be kept: the rest of the play goes on without,
    and a message says so. Refused are MIG instances that were split by hand.
    """

    name = "gpu_record"
    arguments = GpuRecordArguments
    examples = ("- name: MIG and persistence mode outlive the reboot\n  gpu_record: {}\n",)

    def probes(self, args: GpuRecordArguments, context: Context) -> Sequence[Probe]:
        assert DRIVER.probe and BOOT_ID.probe
        become = context.become
        return (
            replace(DRIVER.probe, become=become),
            driver_history.gpus_seen_probe(become),
            driver_history.services_probe(become),
            driver_history.before_probe(become),
            replace(BOOT_ID.probe, become=become),
        )

    def plan(
        self, args: GpuRecordArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        if observed[BEFORE_KEY] is not None:
            return Outcome()
        record = new_record(observed)
        if record is None:
            return Outcome(
                messages=(
                    "what MIG geometry the GPUs have is not known, as nvidia-smi does not show "
                    "them; apply your MIG playbook afterwards",
                )
            )
        path = f"{FOLDER}/gpus.json"
        shown = ", ".join(str(gpu.index) for gpu in record.gpus)
        return Outcome(
            (
                Change(
                    summary=f"keep on the node what GPU {shown} and the driver's services are like",
                    do=(driver_history.keep("gpus.json", record, context.become),),
                    guard=f"[ ! -e {path} ]",
                    before={path: "absent"},
                    after={path: "there"},
                    overlay={BEFORE_KEY: record},
                    undo=(Command("forget", f"rm -f {path}", become=context.become),),
                ),
            )
        )
