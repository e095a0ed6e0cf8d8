"""What came back from a host after a change: whether it is done, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runner.engine.ending import StepFailed
from runner.engine.no_log import HIDDEN
from runner.engine.planning import PlannedStep
from runner.hosts.script import BlockResult, Command, Result
from runner.modules.base import Refused, Unknown


def check_seen(step: PlannedStep, states: Mapping[str, Any]) -> None:
    """Done means seen: with what was just read, nothing may be left to do."""
    for state in states.values():
        if isinstance(state, Unknown):
            unread = HIDDEN if step.task.no_log else state
            raise StepFailed(f"{step.label}: done, but what it did cannot be read: {unread}")
    if step.module is None or step.context is None or not step.probes:
        return
    context = replace(step.context, notified=False)
    try:
        outcome = step.module.plan(step.args, states, context)
    except (Refused, Unknown) as error:
        now = HIDDEN if step.task.no_log else error
        raise StepFailed(f"{step.label}: done, but now: {now}") from None
    if outcome.changes:
        still = "; ".join(change.summary for change in outcome.changes)
        still = HIDDEN if step.task.no_log else still
        raise StepFailed(f"{step.label}: the commands succeeded, but still to do: {still}")


def why(step: PlannedStep, number: int, result: BlockResult) -> str:
    """Why change `number` of a step failed, for a person."""
    if not result.do:
        return "failed before its first command"
    last = result.do[-1]
    text = HIDDEN if step.task.no_log else last.error_text[-2000:]
    if last.timed_out:
        ended = _last(step, number, len(result.do))
        which = f"its step '{ended.key}' " if len(step.changes[number].do) > 1 else ""
        return (
            f"{which}did not end within {ended.timeout:g} s and was ended "
            "(the task's 'timeout' sets how long it may take)" + (f": {text}" if text else "")
        )
    return f"failed with exit code {last.rc}" + (f": {text}" if text else "")


def _last(step: PlannedStep, number: int, count: int) -> Command:
    """The last of the change's commands that ran, of `count` results."""
    marks = 1 if step.notify and number == 0 and not step.delegate else 0
    actions = [one for one in step.changes[number].do if isinstance(one, Command)]
    return actions[min(max(count - 1 - marks, 0), len(actions) - 1)]


def output(result: Result) -> dict[str, Any]:
    """What a command printed, as `register` stores it."""
    return {
        "stdout": result.text.removesuffix("\n"),
        "stdout_lines": result.text.splitlines(),
        "stderr": result.stderr.decode("utf-8", "replace").removesuffix("\n"),
    }
