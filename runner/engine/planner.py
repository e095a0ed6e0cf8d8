"""Planning: a pure walk over a play with what was observed of one host.

`plan_host` is called until it needs nothing more: each call either returns a complete plan or
says what has to be read first, everything at once. The same walk serves a dry run and an apply;
there is no other place that decides what a task does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.engine.known import Known
from runner.engine.planning import (
    Done,
    HostPlan,
    Needs,
    PlannedStep,
    Progress,
    Section,
    StepKey,
)
from runner.engine.results import kept_by
from runner.engine.subject import Subject
from runner.engine.walk import Walk


def plan_host(
    subject: Subject, observed: Mapping[str, Any], progress: Progress | None = None
) -> HostPlan | Needs:
    """The plan for one host, or what must be read before there can be one.

    Args:
        observed: probe key -> parsed state, or the `Unknown` its parser raised.
    """
    return Walk(Known.of(subject, observed, progress)).plan()


def plan_verify(
    subject: Subject,
    observed: Mapping[str, Any],
    kept: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> HostPlan | Needs:
    """The play's `verify` tasks against the host as it is now.

    Args:
        kept: what the play's tasks registered and set.
    """
    known = Known.of(subject, observed, progress)
    known.kept.update(kept or {})
    return Walk(known).verification()


def kept_after(subject: Subject, plan: HostPlan, done: Mapping[StepKey, Done]) -> dict[str, Any]:
    """What the tasks of a plan have registered and set once the steps in `done` are applied."""
    steps_of: dict[tuple[Section, int], list[PlannedStep]] = {}
    for step in plan.steps:
        steps_of.setdefault((step.key.section, step.key.index), []).append(step)
    kept = dict(subject.kept.get(subject.host.name, {}))
    for (section, index), steps in steps_of.items():
        if steps[0].task.run_once and subject.once is not None:
            kept.update(subject.once.kept.get(StepKey(section, index), {}))
        else:
            kept.update(kept_by(steps[0].task, steps, done))
    return kept
