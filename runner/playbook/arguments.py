"""A task's module and its arguments: which it is, and whether the arguments fit."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from runner.errors import Origin, Problem
from runner.modules.base import Module
from runner.modules.registry import MODULES, short_name
from runner.playbook.document import Map, Seq
from runner.playbook.fields import kind_of, settled
from runner.playbook.keywords import (
    ABSENT_MODULES,
    REFUSED_TASK_KEYS,
    TASK_KEYS,
    nearest,
)
from runner.playbook.source import TEMPLATE_MARK, BooleanWord
from runner.secrets.redact import KNOWN
from runner.secrets.value import Unread

_LISTED = "gpurun doc lists the modules."
_COMMAND_WORD = re.compile(
    r"(?<!\S)(?P<name>creates|removes|chdir|executable|stdin|stdin_add_newline)=\S"
)
_SHOWN = 60
"""Characters of a wrong value that a message shows."""
_FIRST_WORD = re.compile(r"\s*(?P<name>[a-z_]+)=(?!=)")


def module_of(task: Map, problems: list[Problem]) -> tuple[str, str]:
    """The module a task names and the key it stands under; ("", "") and a problem without one."""
    keys = [key for key in task if key not in TASK_KEYS]
    found = [key for key in keys if short_name(key) in MODULES]
    for key in keys:
        if key not in found:
            problems.append(_stray(key, task, bool(found)))
    if len(found) > 1:
        problems.append(
            Problem(
                f"a task has one module, this one has {len(found)}: {', '.join(found)}",
                task.keys_at.get(found[1]),
                "Make a task of its own of each; check the dash before the second.",
            )
        )
    if not keys:
        problems.append(Problem("the task names no module", task.origin, _LISTED))
    return (short_name(found[0]), found[0]) if found else ("", "")


def _stray(key: str, task: Map, has_module: bool) -> Problem:
    where = task.keys_at.get(key) or task.where(key)
    short = short_name(key)
    if key in REFUSED_TASK_KEYS:
        return Problem(f"{key} of Ansible is not offered in a task", where, REFUSED_TASK_KEYS[key])
    cure = ABSENT_MODULES.get(short) or ABSENT_MODULES.get(short.rpartition(".")[2])
    if cure:
        return Problem(f"there is no module {key}", where, cure)
    if has_module:
        return Problem(f"{key} is not a key of a task", where, nearest(key, TASK_KEYS))
    hint = nearest(short.rpartition(".")[2], [*MODULES, *TASK_KEYS])
    if hint.startswith("Known"):
        hint = _LISTED
    return Problem(f"there is no module {key}", where, hint)


def read_arguments(task: Map, key: str, module: Module[Any], problems: list[Problem]) -> Map:
    """What stands under a task's module as a mapping, a one-line form put under its name."""
    value, where = task.get(key), task.where(key)
    arguments = Map({}, where)
    if isinstance(value, Map):
        arguments = value
    elif isinstance(value, str) and not isinstance(value, BooleanWord):
        arguments = _one_line(key, value, where, module, problems)
    elif value is not None:
        problems.append(
            Problem(f"{key}: expected a mapping of arguments, found {kind_of(value)}", where)
        )
    _add_args(task, arguments, problems)
    return own_names(arguments, module.arguments.other_names, problems)


def own_names(arguments: Map, other: Mapping[str, str], problems: list[Problem]) -> Map:
    """The arguments under the module's own names for them."""
    renamed = Map({}, arguments.origin)
    for name, value in arguments.items():
        own = other.get(name, name)
        if own != name and own in arguments:
            where = arguments.keys_at.get(name) or arguments.where(name)
            problems.append(Problem(f"{name} is another name of {own}: give one of them", where))
        renamed[own] = value
        if name in arguments.origins:
            renamed.origins[own] = arguments.origins[name]
        if name in arguments.keys_at:
            renamed.keys_at[own] = arguments.keys_at[name]
    return renamed


def _add_args(task: Map, arguments: Map, problems: list[Problem]) -> None:
    more = task.get("args")
    if more is not None and not isinstance(more, Map):
        problems.append(
            Problem(f"args: expected a mapping, found {kind_of(more)}", task.where("args"))
        )
        return
    if not isinstance(more, Map):
        return
    for name, item in more.items():
        if name in arguments:
            problems.append(Problem(f"args: {name} is given twice", more.keys_at.get(name)))
        arguments[name] = item
        arguments.origins[name] = more.origins[name]
        arguments.keys_at[name] = more.keys_at[name]


def _one_line(
    key: str, text: str, where: Origin | None, module: Module[Any], problems: list[Problem]
) -> Map:
    if module.free_form:
        _note_words(key, text, where, module, problems)
        return Map({module.free_form: text}, where, {module.free_form: where} if where else None)
    first = (
        text.split("=")[0].strip()
        if "=" in text
        else next(iter(module.arguments.model_fields), "name")
    )
    problems.append(
        Problem(
            f"{key}: expected a mapping of arguments, found a text",
            where,
            f"Write one argument per line, indented under {key}: — for example {first}: ...",
        )
    )
    return Map({}, where)


def _note_words(
    key: str, text: str, where: Origin | None, module: Module[Any], problems: list[Problem]
) -> None:
    """Ansible takes `creates=...` in a command's line, and `name=...` at the beginning of any
    other module's, for an argument (its parsing/splitter.py): here the line is text as a whole."""
    known = {*module.arguments.model_fields, *module.arguments.other_names}
    if module.free_form == "cmd":
        found = _COMMAND_WORD.search(text)
        there = found is not None and found["name"] in known
        way = "Write {}: under args" if there else f"{key} has no argument {{}}"
        hint = f"{way}; if the command itself needs the word, write all under cmd:."
    else:
        found = _FIRST_WORD.match(text)
        found = found if found and found["name"] in known else None
        hint = f"Write one argument per line, indented under {key}: — {{}}: ..."
    if found:
        name = found["name"]
        text = f"{key}: {name}= within the line is not read as an argument"
        problems.append(Problem(text, where, hint.format(name)))


def check_arguments(module: Module[Any], arguments: Map, problems: list[Problem]) -> None:
    """Check names and values against the module's types; settles yes and no in `arguments`.

    Values that hold a template are left for the engine, which checks them once rendered.
    """
    fields = module.arguments.model_fields
    known = {info.alias or name: info.annotation for name, info in fields.items()}
    known |= {name: info.annotation for name, info in fields.items()}
    noted = len(problems)
    for name in arguments:
        _check_words(name, arguments, known.get(name), problems)
    if len(problems) > noted:
        return
    templated = {name for name, value in arguments.items() if holds_template(value)}
    plain = {name: value for name, value in arguments.items() if name not in templated}
    if module.arguments.model_config.get("extra") == "allow":
        known |= dict.fromkeys(arguments)
    for name in sorted(templated - set(known)):
        problems.append(_unknown_argument(module, arguments, name, known))
    try:
        module.arguments.model_validate(plain)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A misspelt argument is told once, not also as the missing one it was meant to be.
        misspelt = any(item["type"] == "extra_forbidden" for item in errors) or templated - set(
            known
        )
        for item in errors:
            if item["type"] == "missing" and misspelt:
                continue
            problem = _argument_problem(module, arguments, known, item, templated)
            if problem:
                problems.append(problem)


def _check_words(name: str, arguments: Map, wanted: Any, problems: list[Problem]) -> None:
    value = arguments[name]
    if isinstance(value, BooleanWord):
        if _accepts(wanted, str) and not _accepts(wanted, bool):
            problems.append(
                Problem(
                    f"{name}: `{value}` is a boolean in YAML, text is expected",
                    arguments.where(name),
                    f'Quote it: "{value}".',
                )
            )
        arguments[name] = value.boolean
        return
    if isinstance(value, str) and not holds_template(value):
        if _accepts(wanted, bool) and not _accepts(wanted, str):
            problems.append(
                Problem(
                    f'{name}: expected true or false, found the text "{value}"',
                    arguments.where(name),
                    "Write it without quotes: true or false.",
                )
            )
        return
    arguments[name] = settled(value)


def _accepts(annotation: Any, kind: type) -> bool:
    """Whether an annotation is the type itself or a union with it."""
    if annotation is kind:
        return True
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_accepts(part, kind) for part in get_args(annotation))
    if get_origin(annotation) is not None and kind is str:
        return any(isinstance(part, str) for part in get_args(annotation))
    return False


def holds_template(value: Any) -> bool:
    """Whether a template stands in the value, or a secret not read yet, at any depth."""
    if isinstance(value, Unread):
        return True
    if isinstance(value, str):
        return bool(TEMPLATE_MARK.search(value))
    if isinstance(value, Mapping):
        return any(holds_template(key) or holds_template(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(holds_template(item) for item in value)
    return False


def _argument_problem(
    module: Module[Any],
    arguments: Map,
    known: Mapping[str, Any],
    item: Any,
    templated: set[str],
) -> Problem | None:
    """One of pydantic's errors at the place in the file; None where a template may yet fit."""
    place: tuple[Any, ...] = item["loc"]
    name = str(place[0]) if place else ""
    if item["type"] == "extra_forbidden" and len(place) == 1:
        return _unknown_argument(module, arguments, name, known)
    if (not place or name not in arguments) and templated and item["type"] != "missing":
        return None
    if item["type"] == "missing" and len(place) == 1:
        if name in templated:
            return None
        return Problem(
            f"{module.name}: {name} is required", arguments.origin, _described(module, name)
        )
    message = str(item["msg"]).removeprefix("Value error, ")
    where, value = walk(arguments, place)
    hint = ""
    if item["type"] == "string_type" and isinstance(value, int | float):
        hint = f"Quote it as it shall read: YAML makes {kind_of(value)} of it."
    path = ".".join(str(part) for part in place if not str(part).startswith("function-"))
    label = f"{module.name}.{path}" if path else module.name
    if wanted := unlike_pattern(module, item):
        message = wanted
    elif item["type"] != "value_error" and place:
        message = f"{message[:1].lower()}{message[1:]}, found {kind_of(value)}"
    return Problem(f"{label}: {message}", where, hint or _described(module, name))


def unlike_pattern(module: Module[Any], item: Any) -> str:
    """How a text should read that does not match its argument's pattern; "" for other mistakes.

    Args:
        item: one of pydantic's errors.
    """
    if item["type"] != "string_pattern_mismatch":
        return ""
    shown = KNOWN(repr(item["input"]))
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
    name = str(item["loc"][0])
    info = module.arguments.model_fields.get(name)
    if info is None or not info.examples:
        return f"{shown} does not fit ({_described(module, name)})"
    return f"{shown} is not written like {' or '.join(map(str, info.examples))}"


def _described(module: Module[Any], name: str) -> str:
    info = module.arguments.model_fields.get(name)
    return f"{name}: {info.description}" if info is not None and info.description else ""


def _unknown_argument(
    module: Module[Any], arguments: Map, name: str, known: Mapping[str, Any]
) -> Problem:
    where = arguments.keys_at.get(name) or arguments.where(name)
    if name in TASK_KEYS:
        hint = f"{name} belongs to the task: indent it like {module.name}."
    else:
        hint = nearest(name, known)
    return Problem(f"{module.name} has no argument {name}", where, hint)


def walk(value: Any, place: Sequence[Any]) -> tuple[Origin | None, Any]:
    """The deepest origin along a path of keys and indexes, and the value there."""
    where: Origin | None = getattr(value, "origin", None)
    for step in place:
        if isinstance(value, Map) and step in value:
            where, value = value.where(step) or where, value[step]
        elif isinstance(value, Seq) and isinstance(step, int) and step < len(value):
            where = value.origins[step] if step < len(value.origins) else where
            value = value[step]
    return where, value
