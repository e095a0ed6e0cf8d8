"""`import_tasks` and `include_tasks`: files of tasks, found and read while loading.

An include whose name a host decides brings in every file that the name can stand for, each with
the condition that it is the one, and a step that refuses a host for which there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import Origin
from runner.modules.registry import short_name
from runner.playbook.document import Map, Seq, Task, TemplateText, merged
from runner.playbook.fields import Fields, kind_of, settled
from runner.playbook.keywords import (
    APPLY_KEYS,
    IMPORT_KEYS,
    INCLUDE_KEYS,
    REFUSED_INCLUDE_KEYS,
)
from runner.playbook.known import Name, NotKnownYet, file_name, known_items, known_value
from runner.playbook.loops import Loop, items_of, read_loop, rounds, shortened
from runner.playbook.source import parse_yaml, read_text
from runner.playbook.tasks import check_templates
from runner.playbook.templates import TemplateProblem

if TYPE_CHECKING:
    from runner.playbook.blocks import Inherited, Reading

MAX_ROUNDS = 1000
"""Rounds of a loop at an include."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that an include may bring in, and the condition that it is this one."""

    name: str
    path: Path
    condition: str = ""


def read_include(
    reading: Reading,
    value: Map,
    key: str,
    section: str,
    files: tuple[Path, ...],
    outer: Inherited,
) -> list[Task]:
    """The tasks that an `import_tasks` or `include_tasks` brings in."""
    form = short_name(key)
    own = Fields(value, form, reading.problems)
    given = arguments(reading, value, key, "file", ("file", "apply"))
    if form == "import_tasks":
        known = [key, *(name for name in IMPORT_KEYS if name != form)]
        inner = reading.inherited(value, form, known, outer)
        return _files(reading, form, given, section, files, inner)
    known = [key, *(name for name in INCLUDE_KEYS if name != "include_tasks")]
    own.unknown_keys(known, REFUSED_INCLUDE_KEYS)
    if section == "handlers" and value.get("name"):
        outer = replace(outer, listen=(*outer.listen, own.plain_text("name")))
    return [
        task
        for inner in dynamic(reading, value, form, given, files, outer)
        for task in _files(reading, form, given, section, files, inner)
    ]


def arguments(
    reading: Reading, value: Map, key: str, free_form: str, known: Sequence[str]
) -> Fields:
    """What stands under an include, one text or a mapping, together with `args`."""
    form, under = short_name(key), value[key]
    if isinstance(under, str) and under:
        where = value.where(key)
        under = Map({free_form: under}, where, {free_form: where} if where else None)
    elif not isinstance(under, Map):
        hint = f"Write {form}: NAME."
        reading.note(f"{form}: expected a name, found {kind_of(under)}", value.where(key), hint)
        under = Map({}, value.where(key))
    more = Fields(value, form, reading.problems).mapping("args")
    made = Map({**under, **more}, under.origin, {**under.origins, **more.origins})
    made.keys_at = {**under.keys_at, **more.keys_at}
    check_templates(made, reading.problems)
    fields = Fields(made, form, reading.problems)
    fields.unknown_keys(known, {})
    if under and free_form not in made:
        fields.note(f"{form}: {free_form} is missing", made.origin, f"Add {free_form}: NAME.")
    return fields


def dynamic(
    reading: Reading,
    value: Map,
    form: str,
    given: Fields,
    files: tuple[Path, ...],
    outer: Inherited,
) -> Iterator[Inherited]:
    """What the tasks of an `include_tasks` or `include_role` take: once for each round of its loop.

    As in Ansible they take nothing that stands beside the include but its conditions, variables
    and `no_log`; what is in its `apply` they take like tasks of a block. Its tags select it, not
    them.
    """
    fields = Fields(value, form, reading.problems)
    loop = read_loop(fields)
    beside = Map(
        {key: value[key] for key in ("name", "when", "no_log") if key in value},
        value.origin,
        value.origins,
    )
    inner = reading.inherited(given.mapping("apply"), "apply", APPLY_KEYS, outer)
    inner = reading.inherited(beside, form, list(beside), inner)
    tags = (*outer.tags, *fields.texts("tags", commas=True))
    own = fields.mapping("vars")
    check_templates(own, reading.problems)
    inner = replace(inner, include_tags=(*outer.include_tags, tags))
    for label, added in _rounds(reading, loop, value, form, files, inner):
        labels = ", ".join(text for text in (outer.label, label) if text)
        parameters = merged(merged(inner.parameters, Map(added)), own)
        yield replace(inner, parameters=parameters, label=labels)


def _rounds(
    reading: Reading,
    loop: Loop,
    value: Map,
    form: str,
    files: tuple[Path, ...],
    inner: Inherited,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A label and the variables of each round; one without any where there is no loop."""
    if loop.value is None:
        yield "", {}
        return
    where = getattr(loop.value, "origin", None) or value.origin
    known = reading.known_at(inner, files)
    try:
        rendered = loop.value
        if isinstance(rendered, TemplateText):
            rendered = known_value(rendered, known, where)
        elif isinstance(rendered, list):
            rendered = known_items(rendered, known, where)
    except NotKnownYet as error:
        message = f"{form}: its loop uses {error.name}, which is not known while loading"
        hint = "Give it in vars of the play, vars_files or with -e; or loop at the tasks inside."
        reading.note(message, where, hint)
        return
    except TemplateProblem as error:
        reading.problems.append(error.problem)
        return
    items = items_of(rendered, loop.form)
    if items is None or len(items) > MAX_ROUNDS:
        what = kind_of(rendered) if items is None else f"{len(items)} items"
        message = f"{form}: its loop needs a list of at most {MAX_ROUNDS} items, found {what}"
        reading.note(message, where)
        return
    for number, added in enumerate(rounds([settled(item) for item in items], loop.control)):
        label = f"item {number + 1}" if inner.no_log else _label(loop, known, added)
        yield label, added


def _label(loop: Loop, known: dict[str, Any], added: dict[str, Any]) -> str:
    """What the include's loop shows of an item: the item where the label is not known yet."""
    item = added[loop.control.loop_var]
    if loop.control.label is None:
        return shortened(item)
    try:
        return shortened(known_value(loop.control.label, {**known, **added}, None))
    except (NotKnownYet, TemplateProblem):
        return shortened(item)


def _files(
    reading: Reading,
    form: str,
    given: Fields,
    section: str,
    files: tuple[Path, ...],
    inner: Inherited,
) -> list[Task]:
    """The tasks of the file, or of each file that the name can stand for on a host."""
    name = given.text("file")
    where = given.values.where("file")
    if not name:
        return []
    places = [file.parent for file in reversed(files)]
    if inner.roles:
        places.insert(1, inner.roles[0] / "tasks")
    found = find(reading, form, name, where, places, files, inner)
    tasks: list[Task] = []
    if found and found[0].condition:
        tasks.append(only_these(reading, form, name, found, where, inner))
    for one in found:
        around = replace(inner, when=(*inner.when, *([one.condition] if one.condition else [])))
        tasks += _read(reading, form, one.path, where, section, files, around)
    return tasks


def _read(
    reading: Reading,
    form: str,
    path: Path,
    where: Origin | None,
    section: str,
    files: tuple[Path, ...],
    inner: Inherited,
) -> list[Task]:
    if is_circle(reading, form, path, where, files):
        return []
    document = reading.document(path, form, where)
    if document is None:
        return []
    if document.value is None and not document.problems:
        reading.note("the file has no tasks", document.origin, "Write a list of tasks.")
    return reading.tasks(document.value, section, document.origin, (*files, path), inner)


def is_circle(
    reading: Reading, form: str, path: Path, where: Origin | None, files: tuple[Path, ...]
) -> bool:
    """Whether the file is already being read; noted with the chain."""
    whole = [file.resolve() for file in files]
    if path.resolve() not in whole:
        return False
    begin = whole.index(path.resolve())
    chain = " → ".join(file.name for file in (*files[begin:], path))
    message = f"{form} goes round in a circle: {chain}"
    reading.note(message, where, "Take one of these imports out.")
    return True


def find(
    reading: Reading,
    form: str,
    text: str,
    where: Origin | None,
    places: Sequence[Path],
    files: tuple[Path, ...],
    inner: Inherited,
) -> list[Found]:
    """The files that a name can stand for; none and a problem where there is none.

    Args:
        places: folders, the first that has such a file counts.
    """
    name = _name(reading, form, text, where, files, inner)
    if name is None:
        return []
    places = [Path(Path(name.text).anchor)] if Path(name.text).anchor else [*dict.fromkeys(places)]
    for place in places:
        found = list(_in(place, name, files, form))
        if found:
            return found
    looked = ", ".join(str(place / name.text) for place in places)
    reading.note(f"{form}: {name.text}: no such file", where, f"Looked for {looked}.")
    return []


def _in(place: Path, name: Name, files: tuple[Path, ...], form: str) -> Iterator[Found]:
    if not name.expression:
        if (place / name.text).exists():
            yield Found(name.text, place / name.text)
        return
    begin = Path(name.text).anchor or ("./" if name.text.startswith("./") else "")
    reading_now = [file.resolve() for file in files]
    for path in sorted(place.glob(name.text.removeprefix(begin))):
        if path.is_file() and path.resolve() not in reading_now and _is_meant(path, form):
            whole = begin + path.relative_to(place).as_posix()
            yield Found(whole, path, name.is_(whole))


def _is_meant(path: Path, form: str) -> bool:
    """Whether a file that a pattern found is one for the include: playbooks and files of
    variables may lie beside files of tasks. One that cannot be read is, so that it is told."""
    text, problem = read_text(path)
    document = parse_yaml(text, str(path))
    if problem or document.problems:
        return True
    if form == "include_vars":
        return isinstance(document.value, Map)
    if not isinstance(document.value, Seq):
        return False
    keys = {short_name(key) for item in document.value if isinstance(item, Map) for key in item}
    return not keys & {"hosts", "import_playbook"}


def _name(
    reading: Reading,
    form: str,
    text: str,
    where: Origin | None,
    files: tuple[Path, ...],
    inner: Inherited,
) -> Name | None:
    """What is known of the file's name; None and a problem where that is not enough."""
    try:
        name = file_name(text, reading.known_at(inner, files), where)
    except TemplateProblem as error:
        reading.problems.append(error.problem)
        return None
    except ValueError as error:
        hint = "Write {{ expressions }} only, or one include for each file with its when."
        reading.note(f"{form}: this cannot be a file's name: {error}", where, hint)
        return None
    if not name.expression:
        return name
    if form == "import_tasks":
        message = "import_tasks: the name is not known while loading"
        hint = "Use include_tasks, which brings in every file that the name can stand for."
        reading.note(message, where, hint)
        return None
    if Path(name.text).suffix not in (".yaml", ".yml") or "**" in name.text:
        message = f"{form}: {name.text} can stand for too many files"
        reading.note(message, where, "Write, for example: tasks/{{ facts.os.id }}.yaml.")
        return None
    return name


def only_these(
    reading: Reading,
    form: str,
    text: str,
    found: Sequence[Found],
    where: Origin | None,
    inner: Inherited,
) -> Task:
    """A step that refuses a host on which the name is none of the files."""
    names = ", ".join(one.name for one in found)
    that = " or ".join(f"({one.condition})" for one in found)
    message = TemplateText(f"{form}: there is no file {text}; there is {names}", where)
    checked = Map({"that": [that], "fail_msg": message}, where)
    task = Task(f"{form} {text}", "assert", checked, where or Origin(str(found[0].path)))
    return reading.inherit(task, inner)
