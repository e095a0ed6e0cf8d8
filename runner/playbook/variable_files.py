"""Variables from files: `vars_files` of a play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.fields import Fields, kind_of, settled
from runner.playbook.known import NotKnownYet, known_value
from runner.playbook.source import NO_FILE, Document, read_yaml
from runner.playbook.templates import TemplateProblem


def play_variables(
    fields: Fields, around: Map, folder: Path, extra: Mapping[str, Any], texts: list[str]
) -> Map:
    """The play's variables: `vars`, then its files in order, which win (as in Ansible).

    Args:
        around: those of the `import_playbook`s around, which win over `vars`.
        extra: the variables of `-e`; a file's name may use them.
        texts: takes the text of each file.
    """
    result = Map()
    overlay(result, fields.mapping("vars"))
    overlay(result, around)
    for names, where in _entries(fields):
        known = {**result, "playbook_dir": str(folder.absolute()), **extra}
        _read_first(fields, names, where, folder, known, result, texts)
    check_names(result, "vars", fields.problems)
    return result


def _entries(fields: Fields) -> list[tuple[list[str], Origin | None]]:
    """Each entry of `vars_files` as the names of which the first that exists counts."""
    value = fields.values.get("vars_files")
    if value is None:
        return []
    where = fields.values.where("vars_files")
    items = value if isinstance(value, Seq) else Seq([value], where, [where] if where else [])
    found: list[tuple[list[str], Origin | None]] = []
    for item, at in zip(items, items.origins, strict=False):
        names = item if isinstance(item, Seq) else [item]
        if names and all(isinstance(name, str) for name in names):
            found.append(([*names], at))
        else:
            message = (
                f"vars_files: expected a file's name or a list of names, found {kind_of(item)}"
            )
            fields.note(message, at)
    return found


def _read_first(
    fields: Fields,
    names: Sequence[str],
    where: Origin | None,
    folder: Path,
    known: Mapping[str, Any],
    result: Map,
    texts: list[str],
) -> None:
    paths = [_path(fields, name, where, folder, known) for name in names]
    there = [path for path in paths if path is not None]
    if len(there) != len(paths):
        return
    path = next((path for path in there if path.exists()), there[0])
    document = read_yaml(path)
    hint = "Its path is relative to the playbook."
    if len(there) > 1:
        hint = f"None of these is there: {', '.join(map(str, there))}."
    texts.append(document.text)
    found = [
        Problem(f"vars_files: {p.message}", p.origin, hint if p.message == NO_FILE else p.hint)
        for p in document.problems
    ]
    fields.problems.extend(found)
    overlay(result, variables_in(document, fields.problems))


def variables_in(document: Document, problems: list[Problem]) -> Map:
    """The variables of a file that was read; what is no mapping is noted."""
    if isinstance(document.value, Map):
        made: Map = settled(document.value)
        return made
    if not document.problems and document.value is not None:
        message = f"expected a mapping of variables, found {kind_of(document.value)}"
        problems.append(Problem(message, document.origin))
    return Map()


def _path(
    fields: Fields, name: str, where: Origin | None, folder: Path, known: Mapping[str, Any]
) -> Path | None:
    if not isinstance(name, TemplateText):
        return folder / name
    try:
        return folder / str(known_value(name, known, name.origin))
    except NotKnownYet as error:
        message = f"vars_files: {error.name} is not known while loading"
        hint = "Use include_vars, or group_vars and host_vars of the inventory, for such files."
        fields.note(message, name.origin or where, hint)
    except TemplateProblem as error:
        fields.problems.append(error.problem)
    return None


def overlay(result: Map, values: Map) -> None:
    """Put `values` over what is in `result`."""
    result.origin = values.origin or result.origin
    result.update(values)
    result.origins.update(values.origins)
    result.keys_at.update(values.keys_at)


def check_names(variables: Map, what: str, problems: list[Problem]) -> None:
    """Note names that no expression could use."""
    for name in variables:
        if not name.isidentifier():
            message = f"{what}: {name!r} cannot be a variable's name"
            hint = "Use letters, digits and _, not beginning with a digit."
            problems.append(Problem(message, variables.keys_at.get(name), hint))
