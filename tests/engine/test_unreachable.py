"""Hosts that do not answer: what a play that says `ignore_unreachable`, or that rescues a reboot,
plans and does for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.engine.delegates import Delegates
from runner.engine.gates import gate
from runner.errors import UnreachableError
from runner.hosts.errors import SilentError
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.modules.base import Disruption, Risk
from tests.engine.local_host import LocalHost
from tests.engine.plays import OneHost, statuses

WHY = "gpu-1: does not answer"
STAYS_AWAY = "gpu-1: has not come back"


@dataclass
class Hung(LocalHost):
    """A host that answers once its power was switched; it does not come back from a reboot."""

    away: bool = True
    comes_late: bool = False

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        if self.away:
            raise SilentError(WHY)
        return super().look(commands)

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        if self.away:
            raise SilentError(WHY)
        return super().change(blocks)

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        if ask is None:
            self.away = not self.comes_late
            raise UnreachableError(STAYS_AWAY, "look at its console")
        ask()
        self.away = False
        super().reboot(timeout)


def play(folder: Path, tasks: str, *, ignore: bool = True, away: bool = True) -> OneHost:
    text = f"- hosts: all\n  drain: {{mode: none}}\n  ignore_unreachable: {str(ignore).lower()}\n"
    one = OneHost(folder, f"{text}  tasks:\n{tasks.format(folder=folder)}")
    one.local = Hung(away=away)
    return one


def done(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".done")


def apply(one: OneHost) -> tuple[str, str]:
    delegates = Delegates(lambda host: LocalHost(), {})
    result = one.apply(delegates=delegates)
    return result.status, result.reason


POWER = """\
    - name: on the host
      copy: {{dest: "{folder}/before.done", content: x}}
      when: facts.reachable
    - name: power
      power_cycle: {{command: [touch, "{folder}/power.done"]}}
      when: not facts.reachable
    - name: behind it
      copy: {{dest: "{folder}/after.done", content: x}}
"""


def test_the_power_cycle_is_planned_and_the_rest_is_known_after_it(tmp_path: Path) -> None:
    plan = play(tmp_path, POWER).plan()
    assert plan.problem is None
    assert statuses(plan) == ["skipped", "change", "deferred"]
    assert plan.unreachable == WHY
    assert plan.steps[1].changes[0].before == {"boot_id": "unknown"}
    assert plan.steps[2].reason == f"known after 'power'; as things are: {WHY}"
    assert (plan.risk, plan.disruption) == (Risk.HIGH, Disruption.REBOOT)
    assert gate(plan, None, None, "run").verdict == "ask"


def test_no_pod_is_waited_for_past_its_grace_period(tmp_path: Path) -> None:
    assert play(tmp_path, POWER).plan().drain.skip_wait_for_delete_timeout == 1
    assert play(tmp_path, POWER, away=False).plan().drain.skip_wait_for_delete_timeout == 0


def test_what_is_behind_the_power_cycle_is_done_once_the_host_is_back(tmp_path: Path) -> None:
    one = play(tmp_path, POWER)
    assert apply(one) == ("changed", "")
    assert done(tmp_path) == ["after.done", "power.done"]


def test_a_host_that_answers_is_planned_as_ever(tmp_path: Path) -> None:
    one = play(tmp_path, POWER, away=False)
    assert statuses(one.plan()) == ["change", "skipped", "change"]
    assert one.plan().unreachable == ""


def test_a_task_that_needs_the_host_is_not_guessed(tmp_path: Path) -> None:
    plan = play(tmp_path, '    - copy: {{dest: "{folder}/x.done", content: x}}\n').plan()
    assert plan.problem is not None
    assert (plan.problem.status, plan.problem.reason) == ("unknown", WHY)


def test_other_plays_do_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        play(tmp_path, POWER, ignore=False).plan()


RESCUED = """\
    - name: boot
      block:
        - name: reboot
          reboot: {{}}
      rescue:
        - name: it answers all the same
          fail: {{msg: "{{{{ ansible_failed_result.msg }}}}"}}
          when: facts.reachable
        - name: power
          power_cycle: {{command: [touch, "{folder}/power.done"]}}
    - name: behind it
      copy: {{dest: "{folder}/after.done", content: x}}
"""


def test_power_for_a_host_that_stays_away_is_planned_as_what_may_follow(tmp_path: Path) -> None:
    one = play(tmp_path, RESCUED, ignore=False, away=False)
    plan = one.plan()
    assert statuses(plan) == ["change", "conditional", "conditional", "change"]
    assert plan.steps[2].reason == "only if 'boot' fails"
    assert apply(one) == ("changed", f"rescued: reboot: {STAYS_AWAY}")
    assert done(tmp_path) == ["after.done", "power.done"]


def test_a_host_that_answers_again_keeps_its_power(tmp_path: Path) -> None:
    one = play(tmp_path, RESCUED, ignore=False, away=False)
    assert isinstance(one.local, Hung)
    one.local.comes_late = True
    assert apply(one) == ("failed", f"it answers all the same: reboot: {STAYS_AWAY}")
    assert done(tmp_path) == []


def test_without_a_rescue_it_stays_unreachable(tmp_path: Path) -> None:
    one = play(tmp_path, "    - name: boot\n      reboot: {{}}\n", ignore=False, away=False)
    assert apply(one) == ("unreachable", f"{STAYS_AWAY}\n    look at its console")
