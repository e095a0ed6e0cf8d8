"""What a plan that was made anew may do, beside the approved one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.engine.approved import check_within
from runner.engine.ending import Drifted
from runner.engine.planning import HostPlan, PlannedStep
from runner.modules.base import Disruption, Risk
from tests.engine.plays import OneHost

PLAY = "- hosts: all\n  tasks:\n    - {name: note, copy: {content: x, dest: FOLDER/x}}\n"


def with_step(plan: HostPlan, **more: Any) -> HostPlan:
    (step,) = plan.steps
    changed: PlannedStep = replace(step, **more)
    return replace(plan, steps=(changed,))


def test_more_risk_or_disruption_than_approved_is_drift(tmp_path: Path) -> None:
    plan = OneHost(tmp_path, PLAY.replace("FOLDER", str(tmp_path))).plan()
    check_within(plan, plan)
    for more in ({"risk": Risk.HIGH}, {"disruption": Disruption.GPU}):
        with pytest.raises(Drifted, match="more than the approved plan showed"):
            check_within(plan, with_step(plan, **more))


def test_a_step_that_has_to_wait_is_judged_when_it_is_due(tmp_path: Path) -> None:
    """Until then it counts with the most that its module may do, which says nothing."""
    plan = OneHost(tmp_path, PLAY.replace("FOLDER", str(tmp_path))).plan()
    check_within(plan, with_step(plan, status="deferred", changes=(), risk=Risk.HIGH))
