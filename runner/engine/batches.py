"""Which planned steps travel to the host together, and as what. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.engine.pending import mark, unmark
from runner.engine.planning import PlannedStep
from runner.hosts.script import Block, Command
from runner.modules.base import Action, Change, Collect, HostWait, Reboot
from runner.playbook.document import Play, Task


def first_batch(steps: Sequence[PlannedStep]) -> list[PlannedStep]:
    """The steps to do next: as many as fit into one exec, or one that is a boundary of its own.

    A reboot, an action of the cluster, a wait, and a step that is only known after the ones before
    it are boundaries. Empty when nothing is left; one deferred step when that is next.
    """
    batch: list[PlannedStep] = []
    for step in steps:
        if step.status != "change" and step.status != "deferred" and not step.waits:
            continue
        if is_boundary(step):
            return batch or [step]
        if batch and not _same_login(batch[-1], step):
            return batch
        batch.append(step)
        if _is_judged(step.task):
            return batch  # what follows depends on how this one ends
    return batch


def _is_judged(task: Task) -> bool:
    conditions = task.failed_when or task.changed_when or task.until
    return bool(task.ignore_errors or conditions or task.retries)


def is_boundary(step: PlannedStep) -> bool:
    """Whether it is done by itself, not in one exec with others."""
    if step.status == "deferred" or step.waits:
        return True
    return any(not isinstance(action, Command) for c in step.changes for action in c.do)


def _same_login(one: PlannedStep, other: PlannedStep) -> bool:
    return (one.delegate, _login(one)) == (other.delegate, _login(other))


def _login(step: PlannedStep) -> tuple[bool, str]:
    """Whether its commands become somebody, and whom."""
    return (step.context.become, step.context.user) if step.context else (True, "root")


def cluster_actions(step: PlannedStep) -> list[Any]:
    """What a boundary step asks of the cluster."""
    actions = [action for change in step.changes for action in change.do]
    asked = [a for a in actions if not isinstance(a, Command | Reboot | Collect)]
    return asked + [wait for wait in step.waits if not isinstance(wait, HostWait)]


def host_waits(step: PlannedStep) -> list[HostWait]:
    """What a boundary step waits for on the host."""
    return [wait for wait in step.waits if isinstance(wait, HostWait)]


def reboots(step: PlannedStep) -> list[Reboot]:
    """The reboots of a boundary step."""
    return [a for change in step.changes for a in change.do if isinstance(a, Reboot)]


def collects(step: PlannedStep) -> list[Collect]:
    """What a boundary step keeps of the host."""
    return [a for change in step.changes for a in change.do if isinstance(a, Collect)]


def blocks(
    play: Play, step: PlannedStep, first: Mapping[str, Sequence[Command]] | None = None
) -> list[Block]:
    """The step's changes as blocks; the last one re-reads the step's probes.

    Args:
        first: "STEP#CHANGE" -> what is done before that change.
    """
    last = len(step.changes) - 1
    first = first or {}
    return [
        Block(
            key=f"{step.key}#{number}",
            guard=_guard(step, number, change),
            do=_commands(play, step, number, (*first.get(f"{step.key}#{number}", ()), *change.do)),
            reread=reread_commands(step) if number == last else (),
        )
        for number, change in enumerate(step.changes)
    ]


def reread_commands(step: PlannedStep) -> tuple[Command, ...]:
    """The step's probes once more, under keys that no other step of the batch uses."""
    become, user = _login(step)
    return tuple(
        replace(probe.command(), key=f"{step.key}|{probe.key}", become=become, user=user)
        for probe in step.probes
    )


def undo_block(step: PlannedStep, number: int) -> Block | None:
    """What restores the state before change `number`, if the change knows how."""
    undo = step.changes[number].undo
    if not undo:
        return None
    become, user = _login(step)
    commands = tuple(
        replace(command, key=f"{step.key}#{number}/undo{n}", become=become, user=user)
        for n, command in enumerate(undo)
    )
    return Block(f"{step.key}#{number}/undo", None, commands)


def _guard(step: PlannedStep, number: int, change: Change) -> Command | None:
    if not change.guard:
        return None
    become, user = _login(step)
    key = f"{step.key}#{number}/guard"
    return Command(key, change.guard, become=become, user=user, brief=True)


def _commands(
    play: Play, step: PlannedStep, number: int, actions: Sequence[Action]
) -> tuple[Command, ...]:
    key, (become, user) = f"{step.key}#{number}", _login(step)
    last = len(step.changes) - 1
    commands = [
        replace(action, key=f"{key}/{n}", become=become, user=user)
        for n, action in enumerate(actions)
        if isinstance(action, Command)
    ]
    if step.delegate:
        return tuple(commands)  # marks lie on the play's own host
    if step.notify and number == 0:
        commands.insert(0, mark(play, step.notify, key))
    if step.key.section == "handlers" and number == last:
        commands.append(unmark(play, step.task.name, key))
    return tuple(commands)
