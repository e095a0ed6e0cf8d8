"""What `no_log` hides of a step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runner.engine.planning import PlannedStep
from runner.modules.base import Change
from runner.playbook.document import Task
from runner.playbook.templates import NotYetKnown, TemplateProblem, render

HIDDEN = "not shown: no_log"


def concealed(step: PlannedStep, variables: Mapping[str, Any]) -> PlannedStep:
    """The step without what `no_log` of its task hides; what it does stays as it is.

    That it changes something, its risk and its disruption stay to be seen.
    """
    task = step.task
    if not task.no_log:
        return step
    if not _is_hidden(task, variables):
        return replace(step, task=replace(task, no_log=False))
    number = f" (item {step.key.item + 1})" if task.loop is not None else ""
    hides_reason = step.reason and step.status not in ("skipped", "conditional")
    return replace(
        step,
        task=replace(task, no_log=True),
        label=f"{task.name}{number}",
        changes=tuple(_without_content(change) for change in step.changes),
        messages=(HIDDEN,) if step.messages else (),
        reason=f"{task.origin}: {HIDDEN}" if hides_reason else step.reason,
    )


def _is_hidden(task: Task, variables: Mapping[str, Any]) -> bool:
    """Hidden unless its template clearly says that it is not."""
    try:
        return render(task.no_log, variables, task.origin) is not False
    except (TemplateProblem, NotYetKnown):
        return True


def _without_content(change: Change) -> Change:
    return replace(change, summary=f"a change ({HIDDEN})", before=None, after=None)
