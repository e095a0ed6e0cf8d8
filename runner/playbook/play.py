"""One play: from YAML to `Play`, with every mistake in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.modules.base import Risk
from runner.modules.registry import MODULES, short_name
from runner.playbook.blocks import Inherited, Reading
from runner.playbook.document import Map, Play, Task, merged
from runner.playbook.drain import read_drain
from runner.playbook.fields import Fields
from runner.playbook.handlers import check_names, linked
from runner.playbook.keywords import PLAY_KEYS, REFUSED_PLAY_KEYS
from runner.playbook.module_defaults import read_module_defaults
from runner.playbook.roles import read_roles
from runner.playbook.rollout import read_order, read_rollout
from runner.playbook.tasks import check_templates
from runner.playbook.variable_files import play_variables


@dataclass(slots=True)
class Loading:
    """A playbook being loaded.

    Args:
        extra: the variables of `-e`.
        roles_path: further folders that hold roles.
        imported: the texts of the files that the playbook names.
        set_later: names that tasks of the plays read so far give a value.
    """

    problems: list[Problem]
    extra: Mapping[str, Any] = field(default_factory=dict)
    roles_path: tuple[Path, ...] = ()
    imported: list[str] = field(default_factory=list)
    set_later: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Around:
    """What the `import_playbook`s around a play give it."""

    variables: Map = field(default_factory=Map)
    when: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def read_play(
    value: Map, where: Origin, files: tuple[Path, ...], loading: Loading, around: Around
) -> Play:
    """One play.

    Args:
        files: the file it stands in, last; those that import it before.
    """
    path, problems = files[-1], loading.problems
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
    hosts = _hosts(fields, where)
    variables = play_variables(
        fields, around.variables, path.parent, loading.extra, loading.imported
    )
    check_templates(variables, problems)
    environment = fields.mapping("environment")
    check_templates(environment, problems)
    rollout = read_rollout(fields)
    fields.flag("force_handlers")
    reading = Reading(
        problems,
        variables,
        loading.extra,
        loading.roles_path,
        set_later=loading.set_later,
        imported=loading.imported,
    )
    sections = _sections(reading, fields, where, path, around)
    return Play(
        name=fields.text("name") or hosts,
        hosts=hosts,
        origin=where,
        variables=merged(variables, reading.exported),
        defaults=reading.exported_defaults,
        become=fields.flag("become") or False,
        become_user=fields.plain_text("become_user"),
        environment=environment,
        risk=fields.level("risk", Risk),
        drain=read_drain(fields),
        drain_origin=value.keys_at.get("drain"),
        waves=rollout.waves,
        max_failed=rollout.max_failed,
        max_failed_percent=rollout.max_failed_percent,
        order=read_order(fields),
        path=path if len(files) > 1 else None,
        ignore_unreachable=fields.flag("ignore_unreachable") or False,
        **sections,
    )


def _hosts(fields: Fields, where: Origin) -> str:
    value = fields.values
    hosts = ",".join(fields.texts("hosts"))
    if "hosts" not in value:
        fields.note("the play has no hosts", where, "Add hosts: all, a group, or a pattern.")
    elif not hosts and isinstance(value["hosts"], str | list | None):
        fields.note("hosts: names no host or group", value.where("hosts"), "Write all, or a group.")
    if "{{" in hosts:
        fields.note(
            "hosts: a template is not possible here",
            value.where("hosts"),
            "Write the widest pattern and choose with --limit.",
        )
    return hosts


def _sections(
    reading: Reading, fields: Fields, where: Origin, path: Path, around: Around
) -> dict[str, tuple[Task, ...]]:
    """The play's tasks by section; roles, `pre_tasks` and `post_tasks` are tasks in their order."""
    written, outer = fields.values, _for_all(fields, around)

    def section(key: str, given: Inherited = outer) -> list[Task]:
        place = written.where(key) or where
        return reading.tasks(written.get(key), key, place, (path,), given)

    found: dict[str, list[Task]] = {"preconditions": section("preconditions")}
    found["tasks"] = section("pre_tasks")
    roles_at = written.where("roles") or where
    found["tasks"] += read_roles(reading, written.get("roles"), roles_at, (path,), outer)
    found["tasks"] += section("tasks") + section("post_tasks")
    own = section("handlers", replace(outer, when=()))
    handlers = [
        replace(handler, included=reading.included) for handler in (*reading.handlers, *own)
    ]
    check_names(handlers, reading.problems)
    found["handlers"], found["verify"] = handlers, section("verify")
    return {key: linked(tasks, handlers, reading.problems) for key, tasks in found.items()}


def _for_all(fields: Fields, around: Around) -> Inherited:
    """What the play hands to each of its tasks."""
    tags = (*around.tags, *fields.texts("tags", commas=True))
    return Inherited(
        when=around.when,
        tags=tuple(dict.fromkeys(tags)),
        ignore_errors=fields.flag("ignore_errors") or False,
        timeout=fields.seconds("timeout"),
        no_log=fields.flag_or_template("no_log"),
        module_defaults=read_module_defaults(fields),
    )
