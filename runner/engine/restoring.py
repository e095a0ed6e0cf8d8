"""The way back from a handler that failed: the files that called for it as they were. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.engine.batches import blocks, undo_block
from runner.engine.planning import PlannedStep
from runner.hosts.script import Block
from runner.playbook.document import Play


def way_back(
    play: Play, handler: PlannedStep, changed: Sequence[PlannedStep]
) -> tuple[list[tuple[str, Block]], list[Block]]:
    """What puts back the files whose change notified a handler, the last first, and runs it again.

    A daemon that does not start with its new configuration shall run with the old one. Only files
    are put back: a package or a partitioned GPU is no matter of a restart.

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
