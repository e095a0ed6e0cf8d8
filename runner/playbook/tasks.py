"""One task: from YAML to `Task`, with every mistake in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import Origin, Problem
from runner.facts.base import FACTS
from runner.modules.base import Disruption, Module, Risk
from runner.modules.registry import load_module
from runner.playbook import templates
from runner.playbook.arguments import (
    check_arguments,
    holds_template,
    module_of,
    read_arguments,
)
from runner.playbook.document import Map, Seq, Task, TemplateText
from runner.playbook.fields import Fields, kind_of, settled
from runner.playbook.keywords import nearest
from runner.playbook.loops import read_loop
from runner.playbook.module_defaults import with_defaults

_COMMANDS = ("command", "shell")


def read_task(
    value: Any,
    section: str,
    where: Origin,
    problems: list[Problem],
    module_defaults: Mapping[str, Map] | None = None,
) -> Task | None:
    """One task, or None where it cannot be told what it is.

    Args:
        module_defaults: arguments of each module that it takes where it says nothing itself.
    """
    if not isinstance(value, Map):
        problems.append(
            Problem(
                f"{section}: a task is a mapping, found {kind_of(value)}",
                where,
                "Write - name: ... and the module under it.",
            )
        )
        return None
    name, key = module_of(value, problems)
    if not name:
        return None
    module = load_module(name)
    fields = Fields(value, "task", problems)
    fields.root_only()
    noted = len(problems)
    arguments = read_arguments(value, key, module, problems)
    if module_defaults and name in module_defaults:
        arguments = with_defaults(arguments, module_defaults[name])
    loop = read_loop(fields)
    if len(problems) == noted:
        check_arguments(module, arguments, problems)
    task = Task(
        name=fields.text("name") or name,
        module=name,
        arguments=arguments,
        origin=where,
        when=fields.conditions("when"),
        notify=fields.names("notify"),
        register=_register(fields),
        loop=loop.value,
        loop_form=loop.form,
        loop_control=loop.control,
        variables=fields.mapping("vars"),
        become=fields.flag("become"),
        timeout=fields.seconds("timeout"),
        environment=fields.mapping("environment"),
        risk=fields.level("risk", Risk),
        disruption=fields.level("disruption", Disruption),
        because=fields.text("because"),
        failed_when=fields.conditions("failed_when"),
        ignore_errors=fields.flag("ignore_errors") or False,
        tags=fields.texts("tags", commas=True),
        listen=_listen(fields, section),
        no_log=fields.flag_or_template("no_log"),
        written=value,
    )
    _check_changed_when(name, fields)
    check_templates(value, problems)
    check_conditions({"when": task.when, "failed_when": task.failed_when}, value, problems)
    _check_lowered(task, module, value, problems)
    if section in ("preconditions", "verify"):
        _check_looks_only(task, module, section, value.keys_at.get(key), problems)
    return task


def _register(fields: Fields) -> str:
    name = fields.plain_text("register")
    if name and (not name.isidentifier() or name in ("item", "facts")):
        fields.note(
            f"register: {name!r} cannot be a variable's name",
            fields.values.where("register"),
            "Use letters, digits and _, not beginning with a digit; not item or facts.",
        )
        return ""
    return name


def _listen(fields: Fields, section: str) -> tuple[str, ...]:
    if "listen" in fields.values and section != "handlers":
        hint = "Put the task into handlers, or remove listen."
        fields.note("listen: only a handler listens", fields.values.keys_at.get("listen"), hint)
    return fields.names("listen")


def _check_changed_when(module: str, fields: Fields) -> None:
    """Ansible's changed_when: false is accepted at commands. It makes nothing safe to run."""
    if "changed_when" not in fields.values:
        return
    if module in _COMMANDS and settled(fields.values["changed_when"]) is False:
        return
    fields.note(
        "changed_when: a change is what differs between two looks, it cannot be set",
        fields.values.where("changed_when"),
        "Leave it out; a command that only looks says read_only: true.",
    )


def check_templates(value: Any, problems: list[Problem]) -> None:
    """Note syntax errors of the templates in the value and facts that do not exist."""
    if isinstance(value, TemplateText):
        problem = templates.check(value, value.origin)
        if problem:
            problems.append(problem)
        else:
            _check_facts(templates.names(value), value.origin, problems)
    elif isinstance(value, Mapping):
        for item in value.values():
            check_templates(item, problems)
    elif isinstance(value, list):
        for item in value:
            check_templates(item, problems)


def _check_facts(names: set[str], where: Origin | None, problems: list[Problem]) -> None:
    for name in sorted(names):
        root, _, fact = name.partition(".")
        if root == "facts" and fact and fact not in FACTS:
            problems.append(Problem(f"there is no fact {fact}", where, nearest(fact, FACTS)))
        if root in ("ansible_facts", "hostvars", "ansible_distribution"):
            hint = f"facts.NAME, of: {', '.join(FACTS)}; inventory variables by their own name."
            problems.append(Problem(f"{root} is not offered in templates", where, hint))


def check_conditions(
    found: Mapping[str, tuple[str, ...]], written: Map, problems: list[Problem]
) -> None:
    """Note conditions that are no expressions: those of each key, written in the mapping."""
    for key, conditions in found.items():
        value = written.get(key)
        for index, condition in enumerate(conditions):
            where = written.where(key)
            if isinstance(value, Seq) and len(value) == len(conditions):
                where = value.origins[index]
            if isinstance(condition, TemplateText) and templates.check(condition, where):
                continue
            problem = templates.check_condition(condition, where)
            if problem:
                problems.append(problem)
            else:
                _check_facts(templates.condition_names(condition), where, problems)


def _check_lowered(task: Task, module: Module[Any], written: Map, problems: list[Problem]) -> None:
    for key, own, given in (
        ("risk", module.risk, task.risk),
        ("disruption", module.disruption, task.disruption),
    ):
        if given is not None and given < own and not task.because:
            problems.append(
                Problem(
                    f"{key}: {given.name.lower()} is less than {task.module}'s own "
                    f"({own.name.lower()})",
                    written.where(key),
                    "Say why with because: ..., or leave it out.",
                )
            )


def _check_looks_only(
    task: Task, module: Module[Any], section: str, where: Origin | None, problems: list[Problem]
) -> None:
    if module.changes_nothing:
        return
    read_only = task.arguments.get("read_only")
    if task.module in _COMMANDS and (read_only is True or holds_template(read_only)):
        return
    hint = "Use assert, debug or a waiting module; put what changes hosts into tasks."
    if task.module in _COMMANDS:
        hint = "Add read_only: true if the command only looks; else put it into tasks."
    problems.append(Problem(f"{section}: {task.module} may change the host", where, hint))
