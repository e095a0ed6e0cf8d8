"""The time for a reboot is looked at in the plan, also where only an apply may reboot."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.playbook.document import Play
from runner.playbook.load import load_playbook
from runner.playbook.templates import names
from tests.engine.plays import OneHost, statuses

SHIPPED = Path(__file__).parents[2] / "playbooks"
CHECK = SHIPPED / "tasks" / "known-reboot-timeout.yaml"


def takes_it(play: Play) -> bool:
    """Whether the time of its reboots is a variable."""
    return bool(names([task.arguments for task in play.tasks if task.module == "reboot"]))


def test_every_play_of_ours_that_may_reboot_looks_at_it() -> None:
    plays = [play for file in SHIPPED.glob("*.yaml") for play in load_playbook(file).plays]
    rebooting = [play for play in plays if takes_it(play)]
    assert len(rebooting) >= 4
    for play in rebooting:
        files = {Path(task.origin.file).name for task in play.preconditions}
        assert CHECK.name in files, play.name


@pytest.mark.parametrize("value", [900, "900", "1"])
def test_a_number_of_seconds_will_do(tmp_path: Path, value: object) -> None:
    text = f"- hosts: all\n  preconditions:\n    - import_tasks: {CHECK}\n"
    assert statuses(OneHost(tmp_path, text, reboot_timeout=value).plan()) == ["ok"]


@pytest.mark.parametrize("value", ["abc", "", "0", "-5", "15m", True])
def test_all_else_is_refused(tmp_path: Path, value: object) -> None:
    text = f"- hosts: all\n  preconditions:\n    - import_tasks: {CHECK}\n"
    problem = OneHost(tmp_path, text, reboot_timeout=value).plan().problem
    assert problem
    assert f"reboot_timeout is {value}; it is a number of seconds" in problem.reason
