"""Results: what `register` stores, and what a task's own conditions make of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.engine.planning import Done, PlannedStep, StepKey
from runner.engine.variables import KnownAfterChange, Later
from runner.modules.base import Refused
from runner.playbook.document import Task
from runner.playbook.templates import NotYetKnown, TemplateProblem, holds

_FINE: Mapping[str, Any] = {"changed": False, "skipped": False, "failed": False}


def completed(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with `changed`, `skipped` and `failed`, as every registered one has."""
    return {**_FINE, **result}


def failure(reason: str, result: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The result of a task that failed; `reason` is its `msg`."""
    return {**_FINE, **(result or {}), "failed": True, "msg": reason}


def judged(task: Task, variables: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """The result as `changed_when` and `failed_when` see it.

    Raises:
        Refused: `failed_when` holds, or one of them cannot be judged.
    """
    told = completed(result)
    try:
        if task.changed_when:
            told["changed"] = all(holds_for(task, c, variables, told) for c in task.changed_when)
        for condition in task.failed_when:
            if holds_for(task, condition, variables, told):
                raise Refused(f"failed_when: {condition}", told)
    except (NotYetKnown, TemplateProblem) as error:
        which = "failed_when" if task.failed_when else "changed_when"
        raise Refused(f"{which} cannot be judged: {error}", told) from None
    return told


def judges_itself(task: Task) -> bool:
    """Whether `failed_when` alone says what is a failure, whatever a command's exit status is."""
    return bool(task.failed_when) and "expect" not in task.arguments


def reached(task: Task, variables: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Whether a task that is tried again until something holds has come to its end.

    Raises:
        Refused: `until` cannot be judged.
    """
    try:
        if task.until:
            return all(holds_for(task, condition, variables, result) for condition in task.until)
    except (NotYetKnown, TemplateProblem) as error:
        if result.get("failed"):
            return False  # what a failure does not tell has not come true
        raise Refused(f"until cannot be judged: {error}", result) from None
    return not result.get("failed")


def holds_for(
    task: Task, condition: str, variables: Mapping[str, Any], result: Mapping[str, Any]
) -> bool:
    """Whether a condition on the task's own result holds."""
    own = {task.register: result} if task.register else {}
    return holds(condition, {**variables, **own}, task.origin)


# -- tries ------------------------------------------------------------------------------------


def most_tries(task: Task) -> int:
    """How often a task is done at most; `retries` come after the first try, as in Ansible."""
    if task.retries is None:
        return 4 if task.until else 1
    return 1 + task.retries


def pause_after(task: Task, tries: int) -> float:
    """Seconds to wait after so many tries."""
    return float(task.delay * task.backoff ** (tries - 1))


def patience(task: Task) -> str:
    """How a task is tried again, for a person."""
    until = " and ".join(task.until) if task.until else "it succeeds"
    apart = f"{task.delay:g} s apart"
    if task.backoff != 1:
        apart += f", each wait {task.backoff:g} times the one before"
    return f"until {until}, at most {most_tries(task)} tries, {apart}"


# -- register ---------------------------------------------------------------------------------


def kept_by(
    task: Task, steps: Sequence[PlannedStep], done: Mapping[StepKey, Done]
) -> dict[str, Any]:
    """The variables a task leaves for later ones: its `register` and what `set_fact` sets."""
    kept: dict[str, Any] = {}
    for step in steps:
        kept.update(set_by(step, done))
    if not task.register:
        return kept
    if any(step.status == "conditional" for step in steps):
        why = f"whether '{task.name}' runs is known after the change"
        return {**kept, task.register: KnownAfterChange(why)}
    results = [result_of(step, done) for step in steps]
    unknown_items = any(step.status == "deferred" and not step.item for step in steps)
    if task.loop is None:
        kept[task.register] = results[0] if results else Later(task.register, {})
    elif unknown_items:
        kept[task.register] = Later(task.register, {})
    else:
        items = [_of_item(step, result) for step, result in zip(steps, results, strict=True)]
        kept[task.register] = _of_loop(task, items)
    return kept


def set_by(step: PlannedStep, done: Mapping[StepKey, Done]) -> dict[str, Any]:
    """The variables that a `set_fact` sets."""
    if step.task.module != "set_fact":
        return {}
    if step.status in ("deferred", "conditional"):
        return {
            name: KnownAfterChange(f"'{name}' is set after the change: {step.reason}")
            for name in step.task.arguments
        }
    result = done[step.key].result if step.key in done else step.result
    return dict(result.get("ansible_facts", {}))


def result_of(step: PlannedStep, done: Mapping[StepKey, Done]) -> Mapping[str, Any]:
    """What one step registers; of one that is yet to be done only what is known before."""
    task = step.task
    if step.key in done:
        return completed(done[step.key].result)
    if step.status == "skipped":
        return {**_FINE, "skipped": True, "skip_reason": step.reason}
    if step.status in ("deferred", "change"):
        # Tasks after it are only reached if it has not failed, unless something catches that.
        sure: dict[str, Any] = {} if task.ignore_errors or task.blocks else {"failed": False}
        if step.status == "change":
            sure["skipped"] = False
            if not task.changed_when:
                sure["changed"] = True
        return Later(task.register, sure)
    return completed(step.result)


def _of_item(step: PlannedStep, result: Mapping[str, Any]) -> Mapping[str, Any]:
    known = {"item": step.item[0], "ansible_loop_var": "item"} if step.item else {}
    return result.with_known(known) if isinstance(result, Later) else {**result, **known}


def _of_loop(task: Task, items: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    known: dict[str, Any] = {"results": list(items), "msg": "All items completed"}
    for key in ("changed", "failed"):
        told = _told(items, key)
        if True in told or None not in told:
            known[key] = True in told
    told = _told(items, "skipped")
    if False in told or None not in told:
        known["skipped"] = False not in told
    later = any(isinstance(item, Later) for item in items)
    return Later(task.register, known) if later else known


def _told(items: Sequence[Mapping[str, Any]], key: str) -> list[bool | None]:
    """What each item's result says under the key; None where that is known later."""
    told: list[bool | None] = []
    for item in items:
        try:
            told.append(bool(item[key]))
        except KnownAfterChange:
            told.append(None)
    return told
