"""Handlers: their names and topics, and which of them a task means with `notify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.errors import Problem
from runner.playbook.document import Task
from runner.playbook.keywords import nearest

_ROUND = " ("


def check_names(handlers: Sequence[Task], problems: list[Problem]) -> None:
    """Note handlers of the same name."""
    first: dict[str, Task] = {}
    for handler in handlers:
        if handler.name in first:
            problems.append(
                Problem(
                    f'two handlers are called "{handler.name}"; '
                    f"the first is on line {first[handler.name].origin.line}",
                    handler.origin,
                    "Give each its own name.",
                )
            )
        first.setdefault(handler.name, handler)


def linked(
    tasks: Sequence[Task], handlers: Sequence[Task], problems: list[Problem]
) -> tuple[Task, ...]:
    """The tasks with the whole names of the handlers they notify."""
    return tuple(_linked(task, handlers, problems) if task.notify else task for task in tasks)


def _linked(task: Task, handlers: Sequence[Task], problems: list[Problem]) -> Task:
    names: list[str] = []
    for wanted in task.notify:
        found = _called(wanted, task, handlers)
        owners = sorted({_plain(handler.role) for handler in found})
        if len(owners) > 1:
            both = " and ".join(f'"{owner} : {wanted}"' for owner in owners)
            message = f'more than one role has a handler "{wanted}"'
            problems.append(Problem(message, task.written.where("notify"), f"Write {both}."))
        found += [handler for handler in handlers if wanted in handler.listen]
        if not found:
            problems.append(_missing(wanted, task, handlers))
        names += [handler.name for handler in found]
    return replace(task, notify=tuple(dict.fromkeys(names)))


def _called(wanted: str, task: Task, handlers: Sequence[Task]) -> list[Task]:
    """The handlers of that name: of the task's own role, else of the play, else of any role."""
    if task.role:
        own = [h for h in handlers if h.role == task.role and h.name == f"{h.role} : {wanted}"]
        if own:
            return own
    whole = [h for h in handlers if wanted in (h.name, f"{_plain(h.role)} : {_short(h)}")]
    return whole or [h for h in handlers if h.role and _short(h) == wanted]


def _short(handler: Task) -> str:
    return handler.name.removeprefix(f"{handler.role} : ")


def _plain(role: str) -> str:
    """A role's name without the number of its invocation."""
    return role.partition(_ROUND)[0]


def _missing(wanted: str, task: Task, handlers: Sequence[Task]) -> Problem:
    known = [*(h.name for h in handlers), *(topic for h in handlers for topic in h.listen)]
    hint = nearest(wanted, known) if known else "The play has no handlers: add one."
    where = task.written.where("notify") or task.origin
    return Problem(f'no handler is called "{wanted}"', where, hint)
