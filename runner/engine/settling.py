"""Settling a batch: what came back from the host is judged, and noted as done or as failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runner.engine.batches import undo_block
from runner.engine.ending import Drifted, StepFailed
from runner.engine.no_log import HIDDEN
from runner.engine.observe import parsed
from runner.engine.planning import Done, PlannedStep, seen_as
from runner.engine.proof import check_seen, output, why
from runner.engine.results import judged, judges_itself, reached
from runner.hosts.script import BlockResult, Result
from runner.modules.base import Refused
from runner.playbook.lookups import with_results

if TYPE_CHECKING:
    from runner.engine.work import Work


def settle_all(work: Work, batch: list[PlannedStep], results: Mapping[str, BlockResult]) -> None:
    """Take up what each step of a batch has come to.

    Args:
        results: "STEP#CHANGE" -> what the host answered.

    Raises:
        StepFailed, Drifted: a step is not as it shall be, and is not tried again.
    """
    for step in batch:
        found = [results[f"{step.key}#{n}"] for n in range(len(step.changes))]
        try:
            _settle(work, step, found)
        except StepFailed as error:
            if not work.tries.again(step, error):
                raise
            work.outdated = True
            return


def _settle(work: Work, step: PlannedStep, results: list[BlockResult]) -> None:
    for number, result in enumerate(results):
        if result.status == "drifted":
            raise Drifted(
                f"{step.label}: the host is no longer as it was when this was planned",
                "run gpurun plan again to see what it is now",
            )
        if result.status == "not run":
            raise StepFailed(f"{step.label}: was not run")
        if result.status == "failed":
            _broken(work, step, number, result)
            return
    states = reread(step, results[-1])
    try:
        if all(change.predictable for change in step.changes):
            check_seen(step, states)
    except StepFailed as error:
        raise StepFailed(error.message, step=step, changed=True) from None
    last = results[-1].do[-1 - _marks_after(step)]
    _finish(work, step, states, last)


def _finish(work: Work, step: PlannedStep, states: Mapping[str, Any], last: Result) -> None:
    unpredictable = any(not change.predictable for change in step.changes)
    if unpredictable:
        work.observed.clear()
    work.observed.update({seen_as(key, step.delegate): s for key, s in states.items()})
    printed = {"rc": last.rc, **output(last)} if unpredictable else {}
    result = _judged(work, step, {"changed": True, **work.tries.told(step), **printed})
    _take_back_notice(work, step, result)
    work.done[step.key] = Done(result, changed=bool(result["changed"]))
    work.changes.append(step)
    work.emit("step-done", step)


def _judged(work: Work, step: PlannedStep, result: Mapping[str, Any]) -> dict[str, Any]:
    """The result as the task's own conditions see it."""
    variables = with_results(step.variables, work.kept) | step.task.parameters
    try:
        told = judged(step.task, variables, result)
        ends = reached(step.task, variables, told)
    except Refused as error:
        text = f"{step.label}: {HIDDEN if step.task.no_log else error}"
        raise StepFailed(text, step=step, result=error.result, changed=True) from None
    if not ends:
        text = f"{step.label}: until does not hold: {' and '.join(step.task.until)}"
        raise StepFailed(text, step=step, result=told, changed=True)
    return told


def _take_back_notice(work: Work, step: PlannedStep, result: Mapping[str, Any]) -> None:
    """Handlers were marked before the step, which now says that it changed nothing."""
    if result["changed"] or not step.notify:
        return
    notified = {
        handler
        for other in work.plan.steps
        if other.key in work.done and work.done[other.key].result.get("changed")
        for handler in other.task.notify
    }
    work.marks.take_back(step, notified)


def _broken(work: Work, step: PlannedStep, number: int, result: BlockResult) -> None:
    """A command of the step failed; unless the task itself judges what that means."""
    last = result.do[-1] if result.do else Result(1)
    marks = bool(step.notify and not number and not step.delegate)
    ran = len(result.do) == len(step.changes[number].do) + marks
    unpredictable = not step.changes[number].predictable
    if judges_itself(step.task) and unpredictable and ran and not last.timed_out:
        _finish(work, step, reread(step, result), last)
        work.marks.remove(step)
        return
    text = f"{step.label}: {why(step, number, result)}"
    told = {"rc": last.rc, **output(last), **work.tries.told(step)}
    raise StepFailed(text + _undone(work, step, number), step=step, result=told, changed=True)


def _undone(work: Work, step: PlannedStep, number: int) -> str:
    undo = undo_block(step, number)
    if undo is None or step.task.ignore_errors:
        return ""
    if work.reached_by(step).change([undo])[0].status == "done":
        return "; what it had begun was undone"
    return "; undoing what it had begun failed too"


def reread(step: PlannedStep, result: BlockResult) -> dict[str, Any]:
    """What the step's probes saw after it: probe key -> state."""
    seen = result.reread or {}
    return {probe.key: parsed(probe, seen[f"{step.key}|{probe.key}"]) for probe in step.probes}


def _marks_after(step: PlannedStep) -> int:
    return 1 if step.key.section == "handlers" and not step.delegate else 0
