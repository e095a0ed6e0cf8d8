"""`gpu_persistence`: the driver stays ready on GPUs that nobody uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Annotated, Any, Literal

from pydantic import Field

from runner.facts.nvidia import GPUS, GPUS_KEY, Gpu, Gpus
from runner.hosts.script import Result
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
from runner.modules.mig import Selector, select

DAEMON = "nvidia-persistenced"
DAEMON_KEY = "gpu_persistence:daemon"

# Of a unit that is enabled or static nothing has to be done for the next boot.
_LOOK = f"""\
export LC_ALL=C
[ -d /run/systemd/system ] || exit 0
systemctl show --no-pager -p LoadState,ActiveState,UnitFileState,ExecStart -- {DAEMON}.service
"""


class GpuPersistenceArguments(Arguments):
    gpus: Annotated[
        Selector | list[Selector],
        Field(description="Which GPUs: all, an index, a UUID, a product name, or a list of them"),
    ] = "all"
    mode: Literal["enabled", "disabled"] = Field(
        "enabled", description="Persistence mode. `disabled` leaves the daemon as it is."
    )


@dataclass(frozen=True, slots=True)
class Daemon:
    """nvidia-persistenced as systemd has it. `installed` False: there is no such unit.

    `at_boot`: it starts then. `keeps_mode`: it turns persistence mode on when it starts.
    """

    installed: bool = False
    active: bool = False
    at_boot: bool = False
    keeps_mode: bool = True
    masked: bool = False


def parse_daemon(result: Result) -> Daemon:
    """What `_LOOK` printed. Raises Unknown."""
    pairs = dict(line.partition("=")[::2] for line in result.text.splitlines() if "=" in line)
    if result.rc != 0 or (result.text.strip() and "LoadState" not in pairs):
        raise Unknown(f"whether {DAEMON} runs is not known: {result.error_text[-200:]}")
    return Daemon(
        pairs.get("LoadState") in ("loaded", "masked"),
        pairs.get("ActiveState") in ("active", "reloading"),
        pairs.get("UnitFileState") != "disabled",
        "--no-persistence-mode" not in pairs.get("ExecStart", ""),
        pairs.get("LoadState") == "masked",
    )


class GpuPersistence(Module[GpuPersistenceArguments]):
    """Persistence mode: the driver keeps GPUs ready while no process has them open.

    Where nvidia-persistenced is installed it is started, and enabled for the next boot; GPUs that
    are still without the mode then get it with `nvidia-smi -pm`. Without the daemon that does not
    outlive a boot or a reload of the driver: the result's `survives_boot` is false, and a message
    says so, also where the unit starts the daemon with `--no-persistence-mode` as Ubuntu's does.

    Running pods do not notice: low risk, no disruption. Source: NVIDIA's "Driver Persistence".
    """

    name = "gpu_persistence"
    arguments = GpuPersistenceArguments
    examples = (
        "- name: GPUs are ready before the first process\n  gpu_persistence: {}\n",
        "- name: off for the GPU that is looked at\n"
        "  gpu_persistence:\n    gpus: 3\n    mode: disabled\n",
    )

    def probes(self, args: GpuPersistenceArguments, context: Context) -> Sequence[Probe]:
        assert GPUS.probe is not None
        become = context.become
        return (
            replace(GPUS.probe, become=become),
            Probe(DAEMON_KEY, _LOOK, parse_daemon, become=become),
        )

    def plan(
        self, args: GpuPersistenceArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        gpus: Gpus = observed[GPUS_KEY]
        daemon: Daemon = observed[DAEMON_KEY]
        if not gpus:
            raise Refused(f"there is no GPU: {gpus.reason or 'nvidia-smi shows none'}")
        on = args.mode == "enabled"
        chosen = select(gpus, args.gpus)
        unsaid = [str(gpu.index) for gpu in chosen if gpu.persistence_mode is None]
        if unsaid:
            raise Unknown(f"nvidia-smi shows no persistence mode of GPU {', '.join(unsaid)}")
        if on and daemon.masked:
            raise Refused(f"{DAEMON} is masked: whoever did that had a reason; unmask it first")
        changes = []
        if on and daemon.installed and not (daemon.active and daemon.at_boot):
            changes.append(_start(daemon, context))
        wrong = [gpu for gpu in chosen if gpu.persistence_mode is not on]
        # A daemon that starts sets the mode itself; what it leaves out is set here all the same.
        if wrong:
            changes.append(_set(gpus, wrong, on, context))
        survives = daemon.installed and daemon.keeps_mode
        messages = (_lost_at_boot(daemon),) if on and not survives else ()
        return Outcome(tuple(changes), result={"survives_boot": survives}, messages=messages)


def _lost_at_boot(daemon: Daemon) -> str:
    why = (
        f"{DAEMON}.service starts it with --no-persistence-mode"
        if daemon.installed
        else f"{DAEMON} is not installed"
    )
    return f"persistence mode is lost at the next boot: {why}"


def _start(daemon: Daemon, context: Context) -> Change:
    missing = (("enable", daemon.at_boot), ("start", daemon.active))
    verbs = [verb for verb, done in missing if not done]
    shell = "\n".join(
        f"said=$(systemctl {verb} {DAEMON} 2>&1) || {{ printf '%s\\n' \"$said\" >&2; exit 1; }}"
        for verb in verbs
    )
    words = {True: "active", False: "inactive"}
    return Change(
        summary=f"{' and '.join(verbs)} {DAEMON}",
        do=(context.command("daemon", shell),),
        risk=Risk.LOW,
        disruption=Disruption.NONE,
        before={DAEMON: words[daemon.active], "at_boot": daemon.at_boot},
        after={DAEMON: "active", "at_boot": True},
        overlay={DAEMON_KEY: replace(daemon, active=True, at_boot=True)},
    )


def _set(gpus: Gpus, wrong: Sequence[Gpu], on: bool, context: Context) -> Change:
    uuids = ",".join(gpu.uuid for gpu in wrong)
    after = Gpus([replace(g, persistence_mode=on) if g in wrong else g for g in gpus])
    words = {True: "on", False: "off"}
    return Change(
        summary=f"GPU {', '.join(str(gpu.index) for gpu in wrong)}: persistence mode {words[on]}",
        do=(context.command("mode", f"nvidia-smi -i {quote(uuids)} -pm {int(on)}"),),
        before={f"{gpu.index} {gpu.uuid}": words[not on] for gpu in wrong},
        after={f"{gpu.index} {gpu.uuid}": words[on] for gpu in wrong},
        overlay={GPUS_KEY: after},
        undo=(context.command("undo", f"nvidia-smi -i {quote(uuids)} -pm {int(not on)}"),),
    )
