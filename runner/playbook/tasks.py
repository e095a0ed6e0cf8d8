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
from runner.playbook.fields import Fields, kind_of
from runner.playbook.keywords import nearest
from runner.playbook.loops import read_loop
from runner.playbook.module_defaults import with_defaults

_COMMANDS = ("command", "script", "shell")


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
    fields.only_sudo()
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
        become_user=fields.text("become_user"),
        timeout=fields.seconds("timeout"),
        environment=fields.mapping("environment"),
        risk=fields.level("risk", Risk),
        disruption=fields.level("disruption", Disruption),
        because=fields.text("because"),
        failed_when=fields.conditions("failed_when"),
        changed_when=fields.conditions("changed_when"),
        until=fields.conditions("until"),
        retries=fields.count("retries", 0) if fields.values.get("retries") is not None else None,
        delay=_number(fields, "delay", 5.0, least=0),
        backoff=_number(fields, "backoff", 1.0, least=1),
        ignore_errors=fields.flag("ignore_errors") or False,
        run_once=fields.flag("run_once") or False,
        delegate_to=fields.text("delegate_to"),
        tags=fields.texts("tags", commas=True),
        listen=_listen(fields, section),
        no_log=fields.flag_or_template("no_log"),
        written=value,
    )
    _check_changed_when(name, fields)
    _check_tries(task, fields)
    check_templates(value, problems)
    conditions = {
        "when": task.when,
        "failed_when": task.failed_when,
        "changed_when": task.changed_when,
        "until": task.until,
    }
    check_conditions(conditions, value, problems)
    _check_lowered(task, module, value, problems)
    if section in ("preconditions", "verify"):
        _check_looks_only(task, module, section, value.keys_at.get(key), problems)
    return task


def _register(fields: Fields) -> str:
    name = fields.plain_text("register")
    if name and (not name.isidentifier() or name in ("item", "facts", "hostvars", "groups")):
        fields.note(
            f"register: {name!r} cannot be a variable's name",
            fields.values.where("register"),
            "Use letters, digits and _, not beginning with a digit; "
            "not item, facts, hostvars or groups.",
        )
        return ""
    return name


def _listen(fields: Fields, section: str) -> tuple[str, ...]:
    if "listen" in fields.values and section != "handlers":
        hint = "Put the task into handlers, or remove listen."
        fields.note("listen: only a handler listens", fields.values.keys_at.get("listen"), hint)
    return fields.names("listen")


def _check_changed_when(module: str, fields: Fields) -> None:
    """Only of a command nothing else can tell whether it changed something."""
    if "changed_when" not in fields.values or module in _COMMANDS:
        return
    fields.note(
        f"changed_when: what {module} changes is what differs between two looks, it cannot be set",
        fields.values.where("changed_when"),
        "Leave it out.",
    )


def _check_tries(task: Task, fields: Fields) -> None:
    if task.until or task.retries:
        return
    for key in ("delay", "backoff"):
        if key in fields.values:
            fields.note(
                f"{key}: without until or retries the task is done once",
                fields.values.where(key),
                "Add until: with what shall hold, or leave it out.",
            )


def _number(fields: Fields, key: str, default: float, least: float) -> float:
    value = fields.values.get(key, default)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= least:
        return float(value)
    fields.expected(key, f"a number, {least:g} or more")
    return default


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
        if root in ("ansible_facts", "ansible_distribution"):
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
    if module.looks_only(task.arguments):
        return
    read_only = task.arguments.get("read_only")
    if task.module in _COMMANDS and holds_template(read_only):
        return
    hint = "Use assert, debug or a waiting module; put what changes hosts into tasks."
    if task.module in _COMMANDS:
        hint = "Add read_only: true if the command only looks; else put it into tasks."
    problems.append(Problem(f"{section}: {task.module} may change the host", where, hint))
