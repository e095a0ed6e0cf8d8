"""Variables that nothing defines, found without running anything.

What a name can stand for is known from the playbook: its variables, what its tasks register, the
loop's item, and the names that every host has. What only an inventory can say is checked when one
is given; else it is advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import jinja2
from jinja2 import nodes

from runner.errors import Level, Origin, Problem
from runner.modules.base import Refused
from runner.playbook.document import Play, Playbook, Task, TemplateText
from runner.playbook.functions import FUNCTIONS
from runner.playbook.keywords import similar
from runner.playbook.parsing import Parsed, in_braces, parsed
from runner.playbook.templates import texts

MAGIC = frozenset(
    {
        "ansible_play_hosts",
        "ansible_play_hosts_all",
        "facts",
        "group_names",
        "groups",
        "hostvars",
        "inventory_dir",
        "inventory_file",
        "inventory_hostname",
        "inventory_hostname_short",
        "kubernetes_configured",
        "kubernetes_node",
        "play_hosts",
        "playbook_dir",
    }
)
"""Names that every host has (`variables_of` of the engine)."""
_RESCUED = ("ansible_failed_result", "ansible_failed_task")
"""What the tasks of a `rescue` have besides."""
_CONDITIONS = ("when", "failed_when", "changed_when", "until")
_OF_RESULT = ("failed_when", "changed_when", "until")
"""Conditions on what the task itself registers."""
_VALUES = ("arguments", "variables", "parameters", "environment", "loop", "delegate_to")
_SETS = ("set_fact",)
_READ_AS_TEMPLATE = {"template": "src"}
_CONDITION_ARGUMENTS = {"assert": "that"}

Hosts = Mapping[str, Iterable[str]]
"""Host -> the names of its inventory variables."""

Read = Callable[[Play, Task, str], bytes]
"""Reads a file that a task of a play names (`src`); raises Refused where there is none."""


@dataclass(frozen=True, slots=True)
class Use:
    """A name, where it is used, and the task that uses it."""

    name: str
    origin: Origin | None
    task: Task | None


@dataclass(slots=True)
class Scope:
    """What is defined while the tasks of a play are read from first to last."""

    play: Play
    extra: frozenset[str]
    read: Read | None
    registered: set[str] = field(default_factory=set)
    """What the tasks so far registered or set, those of earlier plays included."""

    def known(self, task: Task | None) -> set[str]:
        """Names that have a value for a task; None: in the play's variables."""
        found = {*MAGIC, *FUNCTIONS, *self.play.variables, *self.play.defaults}
        found |= {*self.extra, *self.registered}
        if task is not None:
            found |= {*task.defaults, *task.variables, *task.parameters, *_given_by(task)}
            found |= {name for part in task.included for name in part.values}
        return found


def undefined(
    playbook: Playbook,
    hosts_of: Callable[[Play], Hosts] | None,
    extra: Iterable[str],
    read: Read | None,
) -> list[Problem]:
    """Every variable that is used and not defined.

    Args:
        hosts_of: the hosts a play selects from an inventory; None: no inventory was given.
        extra: names given with `-e`.
        read: reads a template file (`src`); raises Refused where it cannot. None: none is read.
    """
    found: list[Problem] = []
    registered: set[str] = set()
    for play in playbook.plays:
        scope = Scope(play, frozenset(extra), read, registered)
        uses = list(_uses(scope))
        hosts = hosts_of(play) if hosts_of else None
        found += _once(_judged(use, play, hosts, scope) for use in uses)
    return found


def _once(problems: Iterable[Problem | None]) -> Iterator[Problem]:
    """The first of equal mistakes: one missing variable is often used in twenty places."""
    said = set()
    for problem in problems:
        if problem and problem.message not in said:
            said.add(problem.message)
            yield problem


def _uses(scope: Scope) -> Iterator[Use]:
    """Names a play uses that are not defined where they are used, as far as the playbook tells."""
    play = scope.play
    for task in play.every_task:
        known = scope.known(task)
        for name, origin in _needed(play, task, scope.read):
            if name not in known:
                yield Use(name, origin, task)
        scope.registered |= set(_set_by(task))
    # Variables are rendered where a task uses them: whatever a task may have is defined there.
    known = scope.known(None).union(*map(scope.known, play.every_task))
    for text in texts([play.defaults, play.variables, play.environment]):
        for name in _told(text).used - known:
            yield Use(name, getattr(text, "origin", None) or play.origin, None)


def _given_by(task: Task) -> set[str]:
    """Names that only the task itself sees."""
    control = task.loop_control
    names = {control.loop_var, control.index_var} if task.loop is not None else set()
    if control.extended:
        names.add("ansible_loop")
    if task.register and any(getattr(task, key) for key in _OF_RESULT):
        names.add(task.register)
    if any(part.kind == "rescue" for part in task.blocks):
        names.update(_RESCUED)
    return names


def _set_by(task: Task) -> set[str]:
    """Names that tasks after this one can use."""
    names = {task.register} if task.register else set()
    return names | (set(task.arguments) if task.module in _SETS else set())


def _needed(play: Play, task: Task, read: Read | None) -> Iterator[tuple[str, Origin | None]]:
    """The variables a task needs, in the order it is written. A name that one of its conditions
    asks for (`x is defined`) may be undefined in all of the task."""
    conditions = [_told(in_braces(text)) for text in _conditions(task)]
    asked = frozenset().union(*(found.asked for found in conditions))
    for found in conditions:
        for name in sorted(found.used - asked):
            yield name, task.origin
    values: list[Any] = [getattr(task, key) for key in _VALUES]
    for text in (*texts(values), *_file(play, task, read)):
        origin = text.origin if isinstance(text, TemplateText) else None
        for name in sorted(_told(str(text)).used - asked):
            yield name, origin or task.origin


def _conditions(task: Task) -> Iterator[str]:
    for key in _CONDITIONS:
        yield from getattr(task, key)
    argument = task.arguments.get(_CONDITION_ARGUMENTS.get(task.module, ""))
    for item in argument if isinstance(argument, list) else [argument]:
        if isinstance(item, str) and not isinstance(item, TemplateText):
            yield item


def _file(play: Play, task: Task, read: Read | None) -> Iterator[str]:
    """The text of the template file that a task names, where its name holds no template."""
    name = task.arguments.get(_READ_AS_TEMPLATE.get(task.module, ""))
    if read and isinstance(name, str) and not isinstance(name, TemplateText):
        with suppress(Refused, UnicodeDecodeError):
            yield read(play, task, name).decode()


def _judged(use: Use, play: Play, hosts: Hosts | None, scope: Scope) -> Problem | None:
    """What is wrong with a use; None where the inventory defines the name."""
    message = f"variable {use.name} is not defined"
    near = similar(use.name, scope.known(use.task).union(*(hosts or {}).values()))
    later = next((t for t in (*play.tasks, *play.handlers) if use.name in _set_by(t)), None)
    if hosts is not None:
        without = [host for host, names in hosts.items() if use.name not in names]
        if not without:
            return None
        if len(without) < len(hosts):
            message += f" for {_some(without)}"
    if later is not None:
        hint = f'"{later.name}" (line {later.origin.line}) sets it: put that task first.'
        return Problem(f"{message} yet", use.origin, hint)
    if hosts is None:
        hint = near or "Nothing in the playbook defines it: the inventory or -e must."
        return Problem(message, use.origin, f"{hint} With -i this is checked.", "warning")
    level: Level = "warning" if use.task and use.task.when else "error"
    default = f"Define it in the inventory or in vars, or write {use.name} | default(...)."
    return Problem(message, use.origin, near or default, level)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _told(text: str) -> Parsed:
    """What a template's text tells; nothing where it is no template, which loading says."""
    try:
        return parsed(text)
    except jinja2.TemplateError:
        return Parsed(nodes.Template([]))
