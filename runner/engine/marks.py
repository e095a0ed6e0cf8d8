"""Marks of notified handlers on one host, as the work goes on."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from runner.engine.batches import reboots
from runner.engine.observe import Hosts
from runner.engine.pending import mark, unmark, unnotified
from runner.engine.planning import PlannedStep
from runner.hosts.script import Block
from runner.playbook.document import Play


@dataclass(frozen=True, slots=True)
class Marks:
    """Makes and removes marks in execs of their own, where a step's own exec cannot.

    Args:
        connection: to the host of the play, also for steps that are delegated.
        owed: marks that were there before the first change.
    """

    play: Play
    connection: Hosts
    owed: frozenset[str]

    def make(self, step: PlannedStep) -> None:
        """A run that is killed after the step must not lose the restart it calls for."""
        if step.changes and step.notify:
            command = mark(self.play, step.notify, str(step.key))
            self.connection.change([Block(str(step.key), None, (command,))])

    def remove(self, step: PlannedStep) -> None:
        """A handler that has run is no longer owed."""
        as_root = self.play.become and self.play.become_user in ("", "root")
        gone = bool(reboots(step)) and as_root  # /run is empty after a reboot, a home is not
        if step.key.section == "handlers" and step.changes and not gone:
            command = unmark(self.play, step.task.name, str(step.key))
            self.connection.change([Block(str(step.key), None, (command,))])

    def remove_settled(self, steps: Sequence[PlannedStep], left: Set[str]) -> None:
        """Handlers that only looked, or had nothing to do, are no longer owed either.

        Args:
            left: names of handlers of which something is still to be done, or has failed.
        """
        names = dict.fromkeys(s.task.name for s in steps if s.key.section == "handlers")
        commands = tuple(unmark(self.play, name, name) for name in names if name not in left)
        if commands:
            self.connection.change([Block("handlers/unmark", None, commands)])

    def take_back(self, step: PlannedStep, notified: set[str]) -> None:
        """Handlers were marked before the step, which now says that it changed nothing.

        Args:
            notified: handlers that other steps called for.
        """
        idle = unnotified(self.play, step.notify, notified, self.owed)
        if idle:
            commands = tuple(unmark(self.play, name, f"{step.key}/{name}") for name in idle)
            self.connection.change([Block(str(step.key), None, commands)])
