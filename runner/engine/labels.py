"""What is shown of a step: its label, and what `no_log` hides of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from runner.engine.planning import PROBLEMS, PlannedStep
from runner.modules.base import Change
from runner.playbook.document import Task
from runner.playbook.loops import shortened
from runner.playbook.templates import NotYetKnown, TemplateProblem, render

HIDDEN = "not shown: no_log"


def step_label(task: Task, variables: Mapping[str, Any]) -> str:
    """The task's name, and in a loop the item or what `loop_control.label` makes of it."""
    control = task.loop_control
    if task.loop is None or control.loop_var not in variables:
        return task.name
    shown = variables[control.loop_var]
    if control.label is not None:
        with suppress(TemplateProblem, NotYetKnown):  # the item says as much as can be said
            shown = render(control.label, variables, task.origin)
    return f"{task.name} ({shortened(shown)})"


def concealed(step: PlannedStep, variables: Mapping[str, Any]) -> PlannedStep:
    """The step without what `no_log` of its task hides; what it does stays as it is.

    That it changes something, its risk and its disruption stay to be seen.
    """
    task = step.task
    if not task.no_log or not _is_hidden(task, variables):
        return step
    number = f" (item {step.key.item + 1})" if task.loop is not None else ""
    hides_reason = step.status in PROBLEMS
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
