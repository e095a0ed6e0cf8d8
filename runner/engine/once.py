"""`run_once`: tasks that one host of a play does for all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.engine.planning import Done, HostPlan, PlannedStep, StepKey
from runner.engine.results import kept_by
from runner.playbook.document import Play


def does_once(play: Play) -> bool:
    """Whether the play has tasks that one host does for all."""
    sections = (play.preconditions, play.tasks, play.handlers, play.verify)
    return any(task.run_once for tasks in sections for task in tasks)


def kept_once(plan: HostPlan, done: Mapping[StepKey, Done]) -> dict[StepKey, dict[str, Any]]:
    """What the tasks done once registered and set on the host that did them, by their first key."""
    steps_of: dict[StepKey, list[PlannedStep]] = {}
    for step in plan.steps:
        if step.task.run_once:
            steps_of.setdefault(StepKey(step.key.section, step.key.index), []).append(step)
    return {key: kept_by(steps[0].task, steps, done) for key, steps in steps_of.items()}
