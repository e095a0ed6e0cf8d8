"""What a module is asked about a host: its arguments and its context. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from runner.engine.files import reader
from runner.engine.results import judges_itself
from runner.engine.subject import Subject
from runner.modules.base import Context, Module, Outcome, Refused
from runner.modules.registry import load_module
from runner.playbook.arguments import unlike_pattern
from runner.playbook.document import Map, Task
from runner.playbook.filters.data import plain
from runner.playbook.templates import holds, render, render_text
from runner.secrets.redact import KNOWN

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.@\\-]*\$?")


def arguments_of(task: Task, module: Module[Any], variables: Mapping[str, Any]) -> Any:
    """The module's typed arguments, their templates rendered.

    Raises:
        Refused: with the argument that is wrong and where it was written.
    """
    arguments: Mapping[str, Any] = task.arguments
    if task.module == "assert":
        arguments = _evaluated(task, variables)
    rendered = render(arguments, variables, task.origin)
    try:
        # Plain texts: modules and libraries need not know that one was a secret.
        return module.arguments.model_validate(plain(rendered))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = task.arguments.where(str(first["loc"][0])) if first["loc"] else task.origin
        wrong = unlike_pattern(module, first) or first["msg"]
        raise Refused(f"{where or task.origin}: {task.module}.{name}: {wrong}") from None


def _evaluated(task: Task, variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """`assert` with its conditions evaluated: it takes the expressions that do not hold."""
    that = task.arguments.get("that", [])
    conditions = [that] if isinstance(that, str | bool) else list(that)
    failed = [str(c) for c in conditions if not holds(str(c), variables, task.origin)]
    return Map({**task.arguments, "that": failed}, task.arguments.origin)


def context_of(subject: Subject, task: Task, variables: Mapping[str, Any]) -> Context:
    """What the module may know beside its arguments."""
    play = subject.play
    environment = render(Map({**play.environment, **task.environment}), variables, task.origin)
    folder = subject.playbook.parent
    return Context(
        host=subject.host.name,
        folder=str(folder),
        read=reader(folder, task.folders, task.module),
        template=lambda text, name: render_text(text, variables, task.origin, name),
        notified=True,
        timeout=task.timeout,
        become=becomes(subject, task),
        environment={str(k): str(v) for k, v in environment.items()},
        secret_in=KNOWN.found_in,
        user=_user(subject, task, variables),
    )


def becomes(subject: Subject, task: Task) -> bool:
    """Whether the task works as root. On the controller only if it says so itself."""
    if task.become is not None:
        return task.become
    return subject.play.become and not load_module(task.module).on_controller


def _user(subject: Subject, task: Task, variables: Mapping[str, Any]) -> str:
    """Whom the task becomes: Ansible lets the inventory's variable win over what plays say."""
    wanted = variables.get("ansible_become_user") or task.become_user or subject.play.become_user
    name = render(wanted, variables, task.origin) if wanted else "root"
    if isinstance(name, str) and _USER.fullmatch(name):
        return name
    raise Refused(f"{task.origin}: become_user: {name!r} is no user's name")


def answer(
    task: Task, module: Module[Any], args: Any, states: Mapping[str, Any], context: Context
) -> Outcome:
    """What the module says; `failed_when` takes the place of its own judgement of a command.

    Raises:
        Refused, Unknown: as the module.
    """
    try:
        return module.plan(args, states, context)
    except Refused as error:
        if error.result and judges_itself(task):
            return Outcome(result=error.result)
        raise
