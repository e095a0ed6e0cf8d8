"""The way back from a handler that failed: the files that called for it as they were. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.engine.batches import blocks, undo_block
from runner.engine.planning import PlannedStep
from runner.hosts.script import Block
from runner.playbook.document import Play


def way_back(play: Play, handler: PlannedStep, changed: Sequence[PlannedStep]) -> list[Block]:
    """What puts back the files whose change notified a handler, the last first, and runs it again.

    A daemon that does not start with its new configuration shall run with the old one. Only files
    are put back: a package or a partitioned GPU is no matter of a restart.

    Args:
        changed: the steps that have changed the host, in order.

    Returns:
        Nothing where no file called for the handler.
    """
    if handler.delegate or handler.task.ignore_errors:
        return []
    called = [s for s in reversed(changed) if handler.task.name in s.notify and not s.delegate]
    found = [
        undo_block(step, number)
        for step in called
        for number in reversed(range(len(step.changes)))
        if step.changes[number].diff is not None
    ]
    restored = [block for block in found if block is not None]
    if not restored:
        return []
    again = [
        replace(block, key=f"{block.key}/again", guard=None) for block in blocks(play, handler)
    ]
    return [*restored, *again]
