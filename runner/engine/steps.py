"""Planned steps, made of a task and a module's answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from runner.engine.planning import PROBLEMS, PlannedStep, Status, StepKey
from runner.engine.results import completed, failure, most_tries, patience, reached
from runner.engine.variables import FactUnknown
from runner.hosts.script import Command
from runner.modules.base import (
    Change,
    Context,
    Disruption,
    HostWait,
    Module,
    Outcome,
    Refused,
    Risk,
    Unknown,
)
from runner.modules.registry import load_module
from runner.playbook.document import Play, Task, TemplateText
from runner.playbook.loops import shortened
from runner.playbook.source import TEMPLATE_MARK
from runner.playbook.templates import NotYetKnown, TemplateProblem, render
from runner.secrets.redact import KNOWN


def label_of(task: Task, variables: Mapping[str, Any]) -> str:
    """What a step is called: the task's name, its templates filled in where their values are
    known, and, in a loop, the item or its label."""
    name = name_of(task, variables)
    control = task.loop_control
    if task.loop is None or control.loop_var not in variables:
        return name
    shown = variables[control.loop_var]
    if control.label is not None:
        with suppress(TemplateProblem, NotYetKnown):  # the item says as much as can be said
            shown = render(control.label, variables, task.origin)
    return f"{name} ({shortened(shown)})"


def name_of(task: Task, variables: Mapping[str, Any]) -> str:
    """A task's name, its templates filled in; as it is written where that is not possible."""
    if not TEMPLATE_MARK.search(task.name):
        return task.name
    try:
        rendered = render(TemplateText(task.name, task.origin), variables, task.origin)
    except (TemplateProblem, NotYetKnown):
        return task.name
    return " ".join(KNOWN(str(rendered)).split())


def step_of(
    play: Play,
    key: StepKey,
    task: Task,
    label: str,
    module: Module[Any],
    args: Any,
    context: Context,
    probes: tuple[Any, ...],
    outcome: Outcome,
) -> PlannedStep:
    """What a module's answer comes to: a change, or that all is well."""
    changes = tuple(_weighed(change, task, play) for change in outcome.changes)
    again = (f"tried {patience(task)}",) if changes and (task.until or task.retries) else ()
    return PlannedStep(
        key,
        task,
        label,
        "change" if changes else "ok",
        changes=changes,
        waits=outcome.waits,
        messages=(*outcome.messages, *again),
        module=module,
        args=args,
        context=context,
        probes=probes,
        risk=max((c.risk for c in changes), default=Risk.LOW),
        disruption=max((c.disruption for c in changes), default=Disruption.NONE),
        notify=task.notify,
        result=outcome.result,
    )


def _weighed(change: Change, task: Task, play: Play) -> Change:
    """The change with the risk and disruption that the playbook gives it."""
    risk = task.risk or max(change.risk, play.risk or Risk.LOW)
    disruption = change.disruption if task.disruption is None else task.disruption
    return replace(change, risk=risk, disruption=disruption)


def step_for_later(
    play: Play, task: Task, key: StepKey, label: str, why: str, status: Status = "deferred"
) -> PlannedStep:
    """A step of which only the module is known: it counts with the most the module can do."""
    module = load_module(task.module)
    if task.until or task.retries:
        why = f"{why}; tried {patience(task)}"
    if module.looks_only(task.arguments):
        return PlannedStep(key, task, label, status, reason=why, looks=True)
    return PlannedStep(
        key,
        task,
        label,
        status,
        reason=why,
        risk=task.risk or max(module.risk, play.risk or Risk.LOW),
        disruption=module.disruption if task.disruption is None else task.disruption,
        notify=task.notify,
    )


def problem_status(error: Exception) -> Status:
    """How a step counts that an error keeps from being planned."""
    if isinstance(error, TemplateProblem):
        return "failed"
    return "unknown" if isinstance(error, Unknown | FactUnknown) else "refused"


def once_more(
    key: StepKey,
    task: Task,
    label: str,
    variables: Mapping[str, Any],
    probes: tuple[Any, ...],
    error: Refused | Unknown | None,
    tries: int,
) -> PlannedStep:
    """A look that did not show what it shall: it waits for another, or that was the last.

    Args:
        error: what made it fail; None: its `until` does not hold.
        tries: how often it was looked at, this one included.

    Raises:
        Refused, Unknown: it is not tried again.
    """
    most = most_tries(task)
    if error is not None:
        told = failure(str(error), getattr(error, "result", {}))
        if most == 1 or (task.until and reached(task, variables, told)):
            raise error
    if tries >= most:
        last = f": {error}" if error else ""
        result = {**(getattr(error, "result", {})), "attempts": tries}
        raise Refused(f"gave up {patience(task)}{last}", result)
    reason = f"waits {patience(task)}" + (f"; so far: {error}" if error else "")
    step = PlannedStep(key, task, label, "deferred", reason=reason, looks=True, probes=probes)
    return replace(step, waits_until=True, result=failure(str(error)) if error else {})


def delegated(step: PlannedStep, delegate: str) -> PlannedStep:
    """The step, done on another host.

    Raises:
        Refused: it asks for more than commands.
    """
    actions = [action for change in step.changes for action in change.do]
    of_host = all(isinstance(wait, HostWait) for wait in step.waits)
    if not of_host or not all(isinstance(action, Command) for action in actions):
        raise Refused(f"delegate_to: {step.task.module} is not done for other hosts; use a play")
    return replace(step, delegate=delegate, label=f"{step.label} (on {delegate})")


def rescued(step: PlannedStep) -> PlannedStep:
    """A step that cannot succeed, where its block has a `rescue`."""
    if step.status not in PROBLEMS:
        return step
    messages = (*step.messages, f"fails, and the block's rescue follows: {step.reason}")
    return replace(step, status="ok", messages=messages, fails=True, result=completed(step.result))
