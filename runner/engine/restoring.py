"""The way back from a handler that failed: the files that called for it as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.engine.batches import blocks, undo_block
from runner.engine.ending import StepFailed
from runner.engine.planning import PlannedStep
from runner.engine.proof import check_seen
from runner.engine.settling import reread
from runner.hosts.script import Block
from runner.playbook.document import Play

if TYPE_CHECKING:
    from runner.engine.work import Work


def put_back(work: Work, handler: PlannedStep, error: StepFailed) -> StepFailed:
    """A handler failed: it runs again with the files that called for it as they were."""
    restored, again = way_back(work.subject.play, handler, work.changes)
    if not restored:
        return error
    work.progress(f"{error.message}; putting back the files that called for it")
    work.observed.clear()
    # Each by itself: one that somebody has changed meanwhile is left, the others are put back.
    left = [path for path, block in restored if work.connection.change([block])[0].status != "done"]
    files = (
        f"the files that called for it, but for {', '.join(left)},"
        if left
        else "the files that called for it"
    )
    note = f"{files} are as they were, and "
    results = work.connection.change(again)
    broken = next((result for result in results if result.status != "done"), None)
    try:
        if broken is None:
            check_seen(handler, reread(handler, results[-1]))
            work.marks.remove(handler)
            note += "with them it succeeded"
        else:
            last = broken.do[-1].error_text[-500:] if broken.do else ""
            note += f"that did not help: {last}"
    except StepFailed as still:
        note += f"that did not help: {still.message}"
    text = f"{error.message}; {note}"
    return StepFailed(text, error.hint, handler, error.result, error.changed)


def way_back(
    play: Play, handler: PlannedStep, changed: Sequence[PlannedStep]
) -> tuple[list[tuple[str, Block]], list[Block]]:
    """What puts back the files whose change notified a handler, the last first, and runs it again.

    Pure. A daemon that does not start with its new configuration shall run with the old one. Only
    files are put back: a package or a partitioned GPU is no matter of a restart.

    Args:
        changed: the steps that have changed the host, in order.

    Returns:
        What puts back each file, with its path; and what runs the handler again. Both are empty
        where no file called for the handler.
    """
    if handler.delegate or handler.task.ignore_errors:
        return [], []
    called = [s for s in reversed(changed) if handler.task.name in s.notify and not s.delegate]
    restored = [
        (change.diff.path, block)
        for step in called
        for number, change in reversed(list(enumerate(step.changes)))
        if change.diff is not None and (block := undo_block(step, number)) is not None
    ]
    if not restored:
        return [], []
    again = [
        replace(block, key=f"{block.key}/again", guard=None) for block in blocks(play, handler)
    ]
    return restored, again
