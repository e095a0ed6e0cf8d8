"""`include_vars`: files of variables for the tasks after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.playbook.document import Included, Map, Task
from runner.playbook.fields import Fields
from runner.playbook.includes import arguments, find, only_these
from runner.playbook.keywords import INCLUDE_VARS_KEYS, REFUSED_INCLUDE_KEYS
from runner.playbook.tasks import check_templates
from runner.playbook.variable_files import check_names, variables_in

if TYPE_CHECKING:
    from runner.playbook.blocks import Inherited, Reading

_WHAT = "include_vars"


def read_include_vars(
    reading: Reading,
    value: Map,
    key: str,
    section: str,
    files: tuple[Path, ...],
    outer: Inherited,
) -> list[Task]:
    """Give the tasks after it the variables of a file; no task of its own but a check of the
    name, where a host decides it."""
    known = [key, *(name for name in INCLUDE_VARS_KEYS if name != _WHAT)]
    Fields(value, _WHAT, reading.problems).unknown_keys(known, REFUSED_INCLUDE_KEYS)
    given = arguments(reading, value, key, "file", ("file", "name"))
    beside = {name: value[name] for name in ("name", "when", "tags", "no_log") if name in value}
    inner = reading.inherited(Map(beside, value.origin, value.origins), _WHAT, known, outer)
    name, where = given.text("file"), given.values.where("file")
    if not name:
        return []
    places = [role / "vars" for role in inner.roles[:1]]
    places += [file.parent / folder for file in reversed(files) for folder in ("vars", "")]
    found = find(reading, _WHAT, name, where, places, files, inner)
    decided = bool(found and found[0].condition)
    steps = [only_these(reading, _WHAT, name, found, where, inner)] if decided else []
    into = given.plain_text("name")
    for one in found:
        document = reading.document(one.path, _WHAT, where)
        if document is None:
            continue
        values = variables_in(document, reading.problems)
        if into:
            values = Map({into: values}, values.origin)
        check_names(values, _WHAT, reading.problems)
        check_templates(values, reading.problems)
        when = (*inner.when, *([one.condition] if one.condition else []))
        origin = where or document.origin
        made = Included(values, origin, when, inner.tags, inner.include_tags)
        reading.included = (*reading.included, made)
        reading.set_later |= set(values)
    return steps
