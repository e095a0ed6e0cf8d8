"""Roles: found beside the playbook, taken apart into the play's tasks and handlers.

Precedence is Ansible's: a role's defaults are below the inventory, its vars above those of the
play, `vars` of a block or task above them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import Origin
from runner.modules.registry import short_name
from runner.playbook.document import Map, Seq, Task, TemplateText, merged
from runner.playbook.fields import Fields, kind_of
from runner.playbook.includes import arguments, dynamic
from runner.playbook.keywords import (
    IMPORT_ROLE_KEYS,
    INCLUDE_ROLE_KEYS,
    REFUSED_BLOCK_KEYS,
    REFUSED_INCLUDE_KEYS,
    ROLE_ARGUMENTS,
    ROLE_KEYS,
    similar,
)
from runner.playbook.known import NotKnownYet, known_value
from runner.playbook.tasks import check_templates
from runner.playbook.templates import TemplateProblem
from runner.playbook.variable_files import check_names, variables_in

if TYPE_CHECKING:
    from runner.playbook.blocks import Inherited, Reading

_PARTS = ("tasks", "handlers", "templates", "files", "defaults", "vars", "meta")
_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a role.

    Args:
        given: its arguments, for `tasks_from` and the like.
        what: what names it, for messages.
        static: its variables are seen by all tasks of the play.
        once: a second equal use in the play brings nothing.
        variables: `vars` at a role of the play's list, just above the role's own.
    """

    name: str
    where: Origin | None
    what: str
    given: Fields
    static: bool = True
    once: bool = False
    variables: Map | None = None
    as_written: str = ""


@dataclass(slots=True)
class _Gained:
    """What a role's dependencies give it."""

    defaults: Map
    variables: Map


# -- where a role is named ------------------------------------------------------------------------


def read_roles(
    reading: Reading, value: Any, where: Origin, files: tuple[Path, ...], outer: Inherited
) -> list[Task]:
    """The tasks of the play's `roles`, or of the dependencies of one."""
    if value is None:
        return []
    if not isinstance(value, Seq):
        hint = "Begin each with a dash: - NAME, or - role: NAME."
        reading.note(f"roles: expected a list of roles, found {kind_of(value)}", where, hint)
        return []
    found: list[Task] = []
    for item, origin in zip(value, value.origins, strict=True):
        found += _entry(reading, item, origin, files, outer)
    return found


def _entry(
    reading: Reading, item: Any, where: Origin, files: tuple[Path, ...], outer: Inherited
) -> list[Task]:
    if isinstance(item, str) and item:
        item = Map({"role": item}, where, {"role": where})
    if not isinstance(item, Map) or not ("role" in item or "name" in item):
        hint = "Write the role's name, or a mapping with role: NAME."
        reading.note(f"roles: expected a role, found {kind_of(item)}", where, hint)
        return []
    key = "role" if "role" in item else "name"
    _unknown_keys(reading, item)
    inner = reading.inherited(item, "role", list(item), replace(outer, variables=Map()))
    own, inner = inner.variables, replace(inner, variables=outer.variables)
    given = Fields(Map({}, item.origin), "role", reading.problems)
    name = Fields(item, "role", reading.problems).text(key)
    call = Call(name, item.where(key), "roles", given, True, True, own, str(dict(item)))
    return _read(reading, call, "tasks", files, inner)


def _unknown_keys(reading: Reading, item: Map) -> None:
    known = [key for key in item if key in ROLE_KEYS]
    for key in item:
        where = item.keys_at.get(key)
        if key in known:
            continue
        if key in _REFUSED:
            reading.note(f"{key} of Ansible is not offered in a role", where, _REFUSED[key])
        else:
            hint = similar(key, ROLE_KEYS) or "A variable of the role stands under vars:."
            reading.note(f"{key} is not a key of a role", where, hint)


_REFUSED = {
    **REFUSED_BLOCK_KEYS,
    "notify": "Put it at the tasks of the role.",
    **dict.fromkeys(("src", "scm", "version"), "Put the role into roles/; nothing is downloaded."),
}


def read_role_task(
    reading: Reading,
    value: Map,
    key: str,
    section: str,
    files: tuple[Path, ...],
    outer: Inherited,
) -> list[Task]:
    """The tasks of an `import_role` or `include_role`."""
    form = short_name(key)
    if section == "handlers":
        hint = "Put the handlers into handlers/ of the role, or use include_tasks."
        reading.note(f"{form}: a role is no handler", value.keys_at.get(key), hint)
        return []
    given = arguments(reading, value, key, "name", tuple(ROLE_ARGUMENTS))
    if given.flag("allow_duplicates") is False:
        _refuse(given, "allow_duplicates", "A role runs wherever a task names it: name it once.")
    if form == "import_role":
        known = [key, *(name for name in IMPORT_ROLE_KEYS if name != form)]
        inner = reading.inherited(value, form, known, outer)
        _refuse(given, "apply", "import_role hands down what stands beside it: put it there.")
        call = Call(given.text("name"), given.values.where("name"), form, given)
        return _read(reading, call, section, files, inner)
    known = [key, *(name for name in INCLUDE_ROLE_KEYS if name != form)]
    Fields(value, form, reading.problems).unknown_keys(known, REFUSED_INCLUDE_KEYS)
    if given.flag("public"):
        _refuse(given, "public", "Use import_role: all tasks of the play see its variables.")
    call = Call(given.text("name"), given.values.where("name"), form, given, static=False)
    return [
        task
        for inner in dynamic(reading, value, form, given, files, outer)
        for task in _read(reading, call, section, files, inner)
    ]


def _refuse(given: Fields, key: str, hint: str) -> None:
    if key in given.values:
        given.note(f"{key} is not offered in {given.what}", given.values.keys_at.get(key), hint)


# -- a role itself --------------------------------------------------------------------------------


def _read(
    reading: Reading, call: Call, section: str, files: tuple[Path, ...], outer: Inherited
) -> list[Task]:
    path = _folder(reading, call, files, outer)
    if path is None or _is_circle(reading, call, path, outer):
        return []
    meta = _mapping(reading, call, path, "meta", "main")
    label, again = _label(reading, call, path, outer)
    if again and call.once and meta.get("allow_duplicates") is not True:
        return []
    own = _mapping(reading, call, path, "vars", _from(call, "vars"))
    inner = replace(
        outer,
        role=label,
        roles=(path, *outer.roles),
        role_variables=merged(outer.role_variables, own),
    )
    needed, gained = _dependencies(reading, call, meta, files, inner)
    inner = _with_variables(reading, call, own, outer, inner, gained)
    if not again:
        unlabelled = replace(inner, label="")
        handlers = _section(reading, call, path, "handlers", "handlers", files, unlabelled)
        reading.handlers += handlers
    return [*needed, *_section(reading, call, path, "tasks", section, files, inner)]


def _folder(reading: Reading, call: Call, files: tuple[Path, ...], outer: Inherited) -> Path | None:
    name = _name(reading, call, files, outer)
    if not name:
        return None
    beside = files[0].parent
    places = [outer.roles[0].parent] if outer.roles else []
    places += [beside / "roles", beside / ".." / "roles", *reading.roles_path]
    if "/" in name:
        places = [beside]
    for place in dict.fromkeys(places):
        if (place / name).is_dir():
            return _with_parts(reading, call, place / name)
    looked = ", ".join(str(place / name) for place in dict.fromkeys(places))
    hint = f"Looked for {looked}; GPURUN_ROLES_PATH names further folders."
    if name.count(".") >= 2:
        hint = "Roles of collections are not read: copy the role into roles/."
    reading.note(f"{call.what}: there is no role {name}", call.where, hint)
    return None


def _name(reading: Reading, call: Call, files: tuple[Path, ...], outer: Inherited) -> str:
    if not isinstance(call.name, TemplateText):
        return call.name
    try:
        return str(known_value(call.name, reading.known_at(outer, files), call.where))
    except NotKnownYet as error:
        message = (
            f"{call.what}: the role's name uses {error.name}, which is not known while loading"
        )
        reading.note(message, call.where, "Name each role, with its when.")
    except TemplateProblem as error:
        reading.problems.append(error.problem)
    return ""


def _with_parts(reading: Reading, call: Call, path: Path) -> Path | None:
    if any((path / part).is_dir() for part in _PARTS):
        return path
    hint = f"A role has at least one of the folders {', '.join(_PARTS)}."
    reading.note(f"{call.what}: {path} holds no role", call.where, hint)
    return None


def _is_circle(reading: Reading, call: Call, path: Path, outer: Inherited) -> bool:
    begun = [role.resolve() for role in reversed(outer.roles)]
    if path.resolve() not in begun:
        return False
    circle = [*begun[begun.index(path.resolve()) :], path]
    chain = " → ".join(role.name for role in circle)
    message = f"{call.what}: roles go round in a circle: {chain}"
    reading.note(message, call.where, "Take one of them out.")
    return True


def _label(reading: Reading, call: Call, path: Path, outer: Inherited) -> tuple[str, bool]:
    """What the role is called in names of its tasks, and whether the same was used before.

    Uses with other variables are numbered, so that each notifies handlers of its own.
    """
    key = f"{path} {call.as_written} {outer.when} {outer.tags}"
    if not call.once:
        parts = {part: _from(call, part) for part in ("tasks", "vars", "defaults", "handlers")}
        around = (outer.variables, outer.role_variables, outer.parameters, outer.when, outer.become)
        key = f"{path} {parts} {around}"
    before = sum(1 for used in reading.invoked if used.startswith(f"{path} "))
    again = key in reading.invoked
    label = path.name if not before else f"{path.name} ({before + 1})"
    return reading.invoked.setdefault(key, label), again


def _dependencies(
    reading: Reading, call: Call, meta: Map, files: tuple[Path, ...], inner: Inherited
) -> tuple[list[Task], _Gained]:
    """The tasks of the roles that have to come first, and the variables they give."""
    exported, defaults = reading.exported, reading.exported_defaults
    reading.exported, reading.exported_defaults = Map(), Map()
    where = meta.where("dependencies") or Origin(str(inner.roles[0]))
    tasks = read_roles(reading, meta.get("dependencies"), where, files, inner)
    gained = _Gained(reading.exported_defaults, reading.exported)
    reading.exported, reading.exported_defaults = exported, defaults
    if call.static:
        reading.exported = merged(exported, gained.variables)
        reading.exported_defaults = merged(defaults, gained.defaults)
    return tasks, gained


def _with_variables(
    reading: Reading, call: Call, own: Map, outer: Inherited, inner: Inherited, gained: _Gained
) -> Inherited:
    """The role's tasks see its variables over those of its dependencies and of roles around."""
    path = inner.roles[0]
    defaults = _mapping(reading, call, path, "defaults", _from(call, "defaults"))
    if call.static:
        reading.exported = merged(reading.exported, own)
        reading.exported_defaults = merged(reading.exported_defaults, defaults)
    variables = merged(merged(outer.role_variables, gained.variables), own)
    variables = merged(variables, call.variables or Map())
    about = Map({"role_name": path.name, "role_path": str(path.absolute())})
    return replace(
        inner,
        defaults=merged(merged(outer.defaults, gained.defaults), defaults),
        role_variables=merged(variables, about),
    )


# -- its files ------------------------------------------------------------------------------------


def _from(call: Call, part: str) -> str:
    return call.given.plain_text(f"{part}_from") or "main"


def _file(reading: Reading, call: Call, path: Path, part: str, name: str) -> Path | None:
    """The file of a part; None where the role has none. One that was asked for has to be there."""
    endings = ("",) if Path(name).suffix in _ENDINGS else _ENDINGS
    found = [path / part / f"{name}{ending}" for ending in endings]
    there = [file for file in found if file.is_file()]
    needed = name != "main" or (part == "tasks" and (path / part).is_dir())
    if not there and needed:
        looked = ", ".join(map(str, found))
        where = call.given.values.origins.get(f"{part}_from", call.where)
        message = f"{call.what}: the role {path.name} has no {part}/{name}"
        reading.note(message, where, f"Looked for {looked}.")
    return there[0] if there else None


def _mapping(reading: Reading, call: Call, path: Path, part: str, name: str) -> Map:
    file = _file(reading, call, path, part, name)
    document = reading.document(file, call.what, call.where) if file else None
    if document is None:
        return Map()
    values = variables_in(document, reading.problems)
    if part != "meta":
        check_names(values, part, reading.problems)
        check_templates(values, reading.problems)
    return values


def _section(
    reading: Reading,
    call: Call,
    path: Path,
    part: str,
    section: str,
    files: tuple[Path, ...],
    inner: Inherited,
) -> list[Task]:
    file = _file(reading, call, path, part, _from(call, part))
    document = reading.document(file, call.what, call.where) if file else None
    if file is None or document is None:
        return []
    if document.value is None and not document.problems:
        reading.note("the file has no tasks", document.origin, "Write a list of tasks.")
    return reading.tasks(document.value, section, document.origin, (*files, file), inner)
