"""`power_cycle`: a command of the user's, run here, with secrets in its environment only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.engine.delegates import Delegates
from runner.engine.observe import observe
from runner.engine.planner import plan_host
from runner.engine.power import switch_power
from runner.engine.secrets import check_not_exposed
from runner.engine.subject import Subject
from runner.errors import Origin
from runner.facts.pci import PCI_GPUS, PciGpu
from runner.hosts.errors import HostError
from runner.hosts.script import Command
from runner.inventory.model import Host
from runner.modules.base import Context, Disruption, Outcome, Reboot, Refused, Risk, Unknown
from runner.modules.power_cycle import BOOT_KEY
from runner.modules.registry import load_module
from runner.playbook.load import load_playbook
from runner.secrets.redact import KNOWN
from tests.engine.local_host import LocalHost
from tests.engine.plays import OneHost
from tests.recovery.play import POWER_PLAY

PLAYBOOK = Path(__file__).parent.parent.parent / "playbooks/power-cycle.yaml"
NODE = Unknown("no cluster in this test")
BOOT_ID = "9c0b0f0e-0000-4000-8000-000000000001"
BOOT = {BOOT_KEY: BOOT_ID}


def plan(notified: bool = True, environment: dict[str, str] | None = None, **args: Any) -> Outcome:
    module = load_module("power_cycle")
    context = Context("gpu1", notified=notified, environment=environment or {})
    return module.plan(module.arguments.model_validate(args), BOOT, context)


def command_of(outcome: Outcome) -> Command:
    (change,) = outcome.changes
    (reboot,) = change.do
    assert isinstance(reboot, Reboot) and reboot.power_cycle is not None
    return reboot.power_cycle


def test_without_a_command_it_is_refused() -> None:
    with pytest.raises(Refused, match="set power_cycle_command in the inventory"):
        plan()


def test_it_is_a_reboot_that_is_asked_for_from_here() -> None:
    outcome = plan(command=("ipmitool", "-H", "10.0.0.1 x", "power", "cycle"), timeout=60)
    (change,) = outcome.changes
    assert (change.risk, change.disruption) == (Risk.HIGH, Disruption.REBOOT)
    assert change.summary == "power cycle, from here: ipmitool -H '10.0.0.1 x' power cycle"
    assert BOOT_ID in change.guard
    command = command_of(outcome)
    assert (command.shell, command.become) == ("ipmitool -H '10.0.0.1 x' power cycle", False)
    assert plan(notified=False, command=("true",)).changes == (), "done once"


def test_secrets_travel_on_standard_input() -> None:
    command = command_of(plan(environment={"IPMI_PASSWORD": "s3cret word"}, command=("true",)))
    assert b"IPMI_PASSWORD='s3cret word'" in command.stdin
    assert "s3cret" not in command.shell


def test_a_secret_in_an_argument_is_refused(tmp_path: Path) -> None:
    KNOWN.add("s3cret word", "bmc_password")
    change = plan(command=("ipmitool", "-P", "s3cret word")).changes
    task = OneHost(tmp_path, POWER_PLAY.format(command=[])).subject.play.tasks[0]
    with pytest.raises(Refused, match="in ps"):
        check_not_exposed(task, (), change)


@pytest.mark.parametrize(
    ("shell", "said"), [("echo no route >&2; exit 3", "exited 3: no route"), ("exit 1", "exited 1")]
)
def test_a_command_that_fails_is_an_error_that_says_so(shell: str, said: str) -> None:
    with pytest.raises(HostError, match=said):
        switch_power(LocalHost(), Command("power", shell))


def test_the_engine_runs_it_here_and_waits_for_the_host(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    play = OneHost(tmp_path, POWER_PLAY.format(command=["touch", str(trace)]))
    planned = play.plan()
    assert planned.disruption == Disruption.REBOOT and not trace.exists()
    result = play.apply(planned, delegates=Delegates(lambda host: LocalHost(), {}))
    assert result.status == "changed", result
    assert trace.exists()
    assert play.local.changes == [["reboot"]]


def test_the_playbook_takes_the_command_from_the_inventory() -> None:
    assert PCI_GPUS.probe
    (play,) = load_playbook(PLAYBOOK).plays
    said = {"power_cycle_command": ["bmcctl"]}
    host = Host("gpu-1", "192.0.2.1", Origin("hosts.yaml"), variables=said)
    lost = (PciGpu("0000:01:00.0", "2330", False),)
    observed: dict[str, Any] = {**BOOT, PCI_GPUS.probe.key: lost}
    subject = Subject(host, play, PLAYBOOK, {"in_cluster": False})
    plan = observe(lambda seen: plan_host(subject, seen), observed, LocalHost(), lambda: NODE)
    assert plan.problem is None, plan.problem
    (change,) = next(step.changes for step in plan.steps if step.task.module == "power_cycle")
    assert change.summary == "power cycle, from here: bmcctl"
