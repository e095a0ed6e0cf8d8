"""A playbook's file to a checked `Playbook`: all its mistakes at once, each with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, get_args

from runner.errors import InputError, Origin, Problem
from runner.kube.state import DrainMode, DrainOptions
from runner.modules.base import Risk
from runner.modules.registry import MODULES, short_name
from runner.playbook.blocks import Reading
from runner.playbook.document import Map, Play, Playbook, Seq, Task
from runner.playbook.fields import Fields, kind_of, settled
from runner.playbook.keywords import PLAY_KEYS, REFUSED_PLAY_KEYS, nearest, similar
from runner.playbook.source import Document, parse_yaml, read_text, read_yaml
from runner.playbook.tasks import check_templates

_NO_FILE = "no such file"
_DEFAULT_WAVES = ("1", "100%")


def load_playbook(path: Path) -> Playbook:
    """The playbook of a YAML file.

    Raises:
        InputError: with every mistake found: file:line:column, what was expected, the nearest
            known name, and what to do.
    """
    text, problem = read_text(path)
    if problem:
        raise InputError([problem])
    return load_playbook_text(text, path)


def load_playbook_text(text: str, path: Path) -> Playbook:
    """As `load_playbook`, of text already read; relative files are looked up beside `path`."""
    document = parse_yaml(text, str(path))
    problems = list(document.problems)
    imported: list[str] = []
    plays = _plays(document, path, problems, imported)
    if problems:
        raise InputError(sorted(dict.fromkeys(problems), key=_place))
    return Playbook(path, "".join((text, *imported)), tuple(plays))


def _place(problem: Problem) -> tuple[str, int, int]:
    origin = problem.origin or Origin("")
    return origin.file, origin.line, origin.column


def _plays(
    document: Document, path: Path, problems: list[Problem], imported: list[str]
) -> list[Play]:
    value = document.value
    example = "A playbook is a list of plays: - hosts: gpu_nodes, then tasks:."
    if value is None and problems:
        return []
    if value is None:
        problems.append(Problem("the playbook is empty", Origin(document.file), example))
        return []
    if not isinstance(value, Seq):
        hint = example
        if isinstance(value, Map) and "hosts" in value:
            hint = "Put a dash before the first key: - hosts: ..., and indent the rest."
        problems.append(
            Problem(f"expected a list of plays, found {kind_of(value)}", document.origin, hint)
        )
        return []
    if not value:
        problems.append(Problem("the playbook has no plays", document.origin, example))
    found = []
    for item, where in zip(value, value.origins, strict=True):
        if isinstance(item, Map):
            found.append(_play(item, where, path, problems, imported))
        else:
            problems.append(Problem(f"a play is a mapping, found {kind_of(item)}", where, example))
    return found


def _play(
    value: Map, where: Origin, path: Path, problems: list[Problem], imported: list[str]
) -> Play:
    fields = Fields(value, "play", problems)
    if "hosts" not in value and any(short_name(key) in MODULES for key in value):
        fields.note(
            "a task stands where a play is expected",
            where,
            "Put it under a play: - hosts: ..., then tasks: with this task indented.",
        )
        return Play("", "", where)
    fields.unknown_keys(PLAY_KEYS, REFUSED_PLAY_KEYS)
    fields.only_sudo()
    hosts = ",".join(fields.texts("hosts"))
    if "hosts" not in value:
        fields.note("the play has no hosts", where, "Add hosts: all, a group, or a pattern.")
    elif not hosts and isinstance(value["hosts"], str | Seq | None):
        fields.note("hosts: names no host or group", value.where("hosts"), "Write all, or a group.")
    if "{{" in hosts:
        fields.note(
            "hosts: a template is not possible here",
            value.where("hosts"),
            "Write the widest pattern and choose with --limit.",
        )
    reading = Reading(problems)
    sections = {
        key: tuple(reading.tasks(value.get(key), key, value.where(key) or where, (path,)))
        for key in ("preconditions", "tasks", "handlers", "verify")
    }
    imported += reading.imported
    _check_handlers(reading.written, sections["handlers"], problems)
    variables = _variables(fields, path.parent)
    check_templates(variables, problems)
    waves, max_failed = _rollout(fields)
    environment = fields.mapping("environment")
    check_templates(environment, problems)
    return Play(
        name=fields.text("name") or hosts,
        hosts=hosts,
        origin=where,
        variables=variables,
        become=fields.flag("become") or False,
        become_user=fields.plain_text("become_user"),
        environment=environment,
        risk=fields.level("risk", Risk),
        drain=_drain(fields),
        drain_origin=value.keys_at.get("drain"),
        waves=waves,
        max_failed=max_failed,
        **sections,
    )


def _check_handlers(
    tasks: Sequence[Map], handlers: Sequence[Task], problems: list[Problem]
) -> None:
    """Handlers have names of their own, and every notified one exists."""
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
    for task in tasks:
        _check_notify(task, first, problems)


def _check_notify(task: Map, handlers: Mapping[str, Task], problems: list[Problem]) -> None:
    for wanted in Fields(task, "task", []).texts("notify"):
        if wanted not in handlers:
            hint = nearest(wanted, handlers) if handlers else "The play has no handlers: add one."
            problems.append(Problem(f'no handler is called "{wanted}"', task.where("notify"), hint))


def _variables(fields: Fields, folder: Path) -> Map:
    """The play's variables: its files in order, then `vars`, which win."""
    result = Map()
    for name in fields.texts("vars_files"):
        document = read_yaml(folder / name)
        fields.problems.extend(
            Problem(
                f"vars_files: {p.message}",
                p.origin,
                "Its path is relative to the playbook." if p.message == _NO_FILE else p.hint,
            )
            for p in document.problems
        )
        if isinstance(document.value, Map):
            _overlay(result, settled(document.value))
        elif not document.problems and document.value is not None:
            fields.note(
                f"expected a mapping of variables, found {kind_of(document.value)}",
                document.origin,
            )
    _overlay(result, fields.mapping("vars"))
    for name in result:
        if not name.isidentifier():
            fields.note(
                f"vars: {name!r} cannot be a variable's name",
                result.keys_at.get(name),
                "Use letters, digits and _, not beginning with a digit.",
            )
    return result


def _overlay(result: Map, values: Map) -> None:
    result.origin = values.origin or result.origin
    result.update(values)
    result.origins.update(values.origins)
    result.keys_at.update(values.keys_at)


def _rollout(fields: Fields) -> tuple[tuple[str, ...], int]:
    """Waves and the failures allowed, from `rollout` or Ansible's `serial`."""
    rollout = Fields(fields.mapping("rollout"), "rollout", fields.problems)
    rollout.unknown_keys(("waves", "max_failed"), {})
    if "serial" in fields.values and "waves" in rollout.values:
        fields.note(
            "serial and rollout.waves say the same",
            fields.values.where("serial"),
            "Keep rollout.waves.",
        )
    waves = _waves(rollout, "waves") or _waves(fields, "serial") or _DEFAULT_WAVES
    return waves, rollout.count("max_failed", 0)


def _waves(fields: Fields, key: str) -> tuple[str, ...]:
    """Sizes of waves: numbers of hosts, or percentages of the play's hosts."""
    value = fields.values.get(key)
    if value is None:
        return ()
    items: Sequence[Any] = value if isinstance(value, Seq) else [value]
    sizes = tuple("" if isinstance(item, bool) else str(item).strip() for item in items)
    if sizes and all(_is_size(size) for size in sizes):
        return sizes
    fields.note(
        f"{key}: expected numbers of hosts or percentages",
        fields.values.where(key),
        'Write, for example: [1, "25%", "100%"].',
    )
    return ()


def _is_size(size: str) -> bool:
    match = re.fullmatch(r"(\d{1,6})(%?)", size)
    return bool(match) and 0 < int(size.rstrip("%")) <= (100 if size.endswith("%") else 10**6)


def _drain(fields: Fields) -> DrainOptions:
    known = [item.name for item in dataclass_fields(DrainOptions)]
    values = Fields(fields.mapping("drain"), "drain", fields.problems)
    values.unknown_keys(known, {})
    chosen: dict[str, Any] = {}
    for key in ("ignore_daemonsets", "delete_emptydir_data", "force"):
        if (flag := values.flag(key)) is not None:
            chosen[key] = flag
    mode = values.plain_text("mode")
    modes = get_args(DrainMode)
    if mode and mode not in modes:
        values.expected("mode", f"one of {', '.join(modes)}", similar(mode, modes))
    elif mode:
        chosen["mode"] = mode
    if (timeout := values.seconds("timeout")) is not None:
        chosen["timeout"] = timeout
    if values.values.get("grace_period") is not None:
        chosen["grace_period"] = values.count("grace_period", 0)
    if selector := values.plain_text("pod_selector"):
        chosen["pod_selector"] = selector
    if namespaces := values.texts("namespace_exclude", commas=True):
        chosen["namespace_exclude"] = namespaces
    return DrainOptions(**chosen)
