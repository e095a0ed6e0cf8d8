"""`gpu_record`: what a boot loses is kept before it, and `gpu_restore` waits until it is over."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.facts import driver_history
from runner.facts.driver_history import BEFORE_KEY, parse_before
from runner.facts.nvidia import Driver, Gpus
from runner.facts.readiness import REQUIRED_KEY, RebootRequired
from runner.hosts.script import Command, Result
from runner.modules.base import Change, Disruption, Refused, Risk
from tests.driver.states import WORKING, gpu, host, plan
from tests.engine.plays import OneHost

GPUS = Gpus([gpu(0, slices=7), gpu(1)])

PLAY = """\
- hosts: all
  become: true
  drain: {mode: none}
  tasks:
    - {name: record, gpu_record: {}}
    - {name: off and on, %s}
    - {name: restore, gpu_restore: {}}
"""


def keeping(observed: dict[str, Any]) -> Change:
    (change,) = plan("gpu_record", observed).changes
    return change


def test_what_gpus_and_services_are_like_is_kept_and_nobody_notices() -> None:
    observed = host(WORKING, GPUS, ("nvidia-persistenced",))
    change = keeping(observed)
    assert (change.risk, change.disruption) == (Risk.LOW, Disruption.NONE)
    assert change.summary == "keep on the node what GPU 0, 1 and the driver's services are like"
    (keep,) = change.do
    assert isinstance(keep, Command)
    assert parse_before(Result(0, keep.stdin)) == change.overlay[BEFORE_KEY]
    kept = json.loads(keep.stdin)
    assert [one["mig"] for one in kept["gpus"]] == [{"1g.10gb": 7}, "off"]
    assert kept["services"] == ["nvidia-persistenced"]
    assert plan("gpu_record", {**observed, **change.overlay}).changes == ()


def test_what_an_unfinished_change_has_kept_stays() -> None:
    had = driver_history.before(GPUS, driver_history.Services(()), "a boot before")
    bare = Gpus([replace(one, instances=()) for one in GPUS])
    assert plan("gpu_record", host(WORKING, bare, more={BEFORE_KEY: had})).changes == ()


def test_of_gpus_that_are_not_shown_nothing_is_kept_and_it_is_said() -> None:
    outcome = plan("gpu_record", host(Driver("1", "1", False, "no devices"), None))
    assert outcome.changes == ()
    assert "apply your MIG playbook afterwards" in outcome.messages[0]


def test_instances_that_were_split_by_hand_are_refused() -> None:
    part = replace(GPUS[0].instances[0], compute=("1c.1g.10gb", "1c.1g.10gb"))
    with pytest.raises(Refused, match="split by hand"):
        plan("gpu_record", host(WORKING, Gpus([replace(GPUS[0], instances=(part,))])))


@pytest.mark.parametrize("boot", ["reboot: {}", "power_cycle: {command: ['true']}"])
def test_what_is_restored_is_seen_after_the_boot(tmp_path: Path, boot: str) -> None:
    play = OneHost(tmp_path, PLAY % boot)
    play.observed = host(WORKING, GPUS, more={REQUIRED_KEY: RebootRequired(False)})
    record, off, restore = play.plan().steps
    assert [step.status for step in (record, off, restore)] == ["change", "change", "deferred"]
    assert restore.reason.startswith("known after 'off and on'")
    assert restore.disruption <= Disruption.REBOOT


def test_after_the_boot_mig_is_made_again() -> None:
    observed = host(WORKING, GPUS)
    observed |= keeping(observed).overlay
    bare = replace(GPUS[0], mig_mode_current=False, mig_mode_pending=False, instances=())
    observed["driver:gpus"] = Gpus([bare, GPUS[1]])
    first, *_, end = plan("gpu_restore", observed).changes
    assert first.summary == "GPU 0: MIG off -> 7x 1g.10gb"
    assert end.overlay == {BEFORE_KEY: None}
