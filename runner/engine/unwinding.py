"""Blocks: what still runs after a task inside one has failed. Pure.

Tasks of blocks stand in one list; each knows the parts of blocks around it. A failure leaves the
innermost part out, goes on with the `rescue` of its block, or else with its `always`, and then in
the block around that, as in Ansible.
"""

from __future__ import annotations

from collections.abc import Sequence

from runner.playbook.document import BlockPart, Task


class Unwinding:
    """Which tasks of a list run, given what failed so far.

    Args:
        tasks: all tasks of a section.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._with_rescue = {
            part.block for task in tasks for part in task.blocks if part.kind == "rescue"
        }
        self._left: set[tuple[int, str]] = set()
        """Parts that a failure ended."""
        self._rescued: set[int] = set()
        self._passing: set[int] = set()
        """Blocks that a failure goes through on its way out: their `always` runs."""
        self._may_fail: set[int] = set()
        self.uncaught = False

    def catches(self, task: Task) -> bool:
        """Whether a failure of the task would be rescued."""
        return any(self._rescues(part) for part in task.blocks)

    def fail(self, task: Task) -> None:
        """The task has failed."""
        for part in reversed(task.blocks):
            self._left.add((part.block, part.kind))
            if self._rescues(part):
                self._rescued.add(part.block)
                return
            self._passing.add(part.block)
        self.uncaught = True

    def may_fail(self, task: Task) -> None:
        """The task is yet to be done: its blocks may need their rescue."""
        self._may_fail |= {part.block for part in task.blocks if part.kind == "block"}

    def runs(self, task: Task) -> bool:
        """Whether the task runs, unless it waits for a failure (`only_after`)."""
        alive = not self.uncaught
        for part in task.blocks:
            if (part.block, part.kind) in self._left:
                alive = False
            elif part.kind == "always" and part.block in self._passing:
                alive = True
            elif part.kind == "rescue":
                alive = alive and part.block in self._rescued | self._may_fail
        return alive

    def only_after(self, task: Task) -> BlockPart | None:
        """The block whose failure the task waits for, where it has not failed so far."""
        parts = [part for part in task.blocks if part.kind == "rescue"]
        return next((part for part in parts if part.block not in self._rescued), None)

    def _rescues(self, part: BlockPart) -> bool:
        return part.kind == "block" and part.block in self._with_rescue
