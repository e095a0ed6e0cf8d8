"""A playbook's file to a checked `Playbook`: all its mistakes at once, each with its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import InputError, Origin, Problem
from runner.modules.registry import short_name
from runner.playbook.blocks import MAX_IMPORTS
from runner.playbook.document import Map, Play, Playbook, Seq, TemplateText, merged
from runner.playbook.fields import Fields, kind_of
from runner.playbook.keywords import IMPORT_PLAYBOOK_KEYS, REFUSED_BLOCK_KEYS
from runner.playbook.known import NotKnownYet, known_value
from runner.playbook.play import Around, Loading, read_play
from runner.playbook.source import Document, parse_yaml, read_text
from runner.playbook.tasks import check_conditions, check_templates
from runner.playbook.templates import TemplateProblem


def load_playbook(path: Path, extra: Mapping[str, Any] | None = None) -> Playbook:
    """The playbook of a YAML file.

    Args:
        extra: the variables of `-e`; names of files and roles may use them.

    Raises:
        InputError: with every mistake found: file:line:column, what was expected, the nearest
            known name, and what to do.
    """
    text, problem = read_text(path)
    if problem:
        raise InputError([problem])
    return load_playbook_text(text, path, extra)


def load_playbook_text(text: str, path: Path, extra: Mapping[str, Any] | None = None) -> Playbook:
    """As `load_playbook`, of text already read; relative files are looked up beside `path`.

    Roles are looked up beside it too, and in the folders of `GPURUN_ROLES_PATH`.
    """
    document = parse_yaml(text, str(path))
    loading = Loading(list(document.problems), extra or {}, _roles_path())
    plays = _plays(document, (path,), loading, Around())
    if loading.problems:
        raise InputError(sorted(dict.fromkeys(loading.problems), key=_place))
    return Playbook(path, "".join((text, *loading.imported)), tuple(plays))


def _roles_path() -> tuple[Path, ...]:
    given = os.environ.get("GPURUN_ROLES_PATH", "").split(os.pathsep)
    return tuple(Path(folder).expanduser() for folder in given if folder)


def _place(problem: Problem) -> tuple[str, int, int]:
    origin = problem.origin or Origin("")
    return origin.file, origin.line, origin.column


def _plays(
    document: Document, files: tuple[Path, ...], loading: Loading, around: Around
) -> list[Play]:
    value, problems = document.value, loading.problems
    example = "A playbook is a list of plays: - hosts: gpu_nodes, then tasks:."
    if value is None and document.problems:
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
    found: list[Play] = []
    for item, where in zip(value, value.origins, strict=True):
        if not isinstance(item, Map):
            problems.append(Problem(f"a play is a mapping, found {kind_of(item)}", where, example))
            continue
        key = next((key for key in item if short_name(key) == "import_playbook"), "")
        if key:
            found += _imported(item, key, files, loading, around)
        else:
            found.append(read_play(item, where, files, loading, around))
    return found


def _imported(
    value: Map, key: str, files: tuple[Path, ...], loading: Loading, around: Around
) -> list[Play]:
    """The plays of another playbook, with what stands beside its import."""
    fields = Fields(value, "import_playbook", loading.problems)
    known = [key, *(name for name in IMPORT_PLAYBOOK_KEYS if name != "import_playbook")]
    fields.unknown_keys(known, REFUSED_BLOCK_KEYS)
    fields.text("name")
    variables = fields.mapping("vars")
    check_templates(variables, loading.problems)
    when = fields.conditions("when")
    check_conditions({"when": when}, value, loading.problems)
    inner = Around(
        merged(variables, around.variables),
        (*around.when, *when),
        (*around.tags, *fields.texts("tags", commas=True)),
    )
    name = _name(fields, key, files, loading, inner)
    path = files[-1].parent / name
    if not name or _is_refused(fields, key, path, files, loading):
        return []
    text, problem = read_text(path)
    if problem:
        hint = f"Its path is relative to {files[-1].name}."
        fields.note(f"import_playbook: {name}: {problem.message}", value.where(key), hint)
        return []
    loading.imported.append(text)
    document = parse_yaml(text, str(path))
    loading.problems.extend(document.problems)
    return _plays(document, (*files, path), loading, inner)


def _name(
    fields: Fields, key: str, files: tuple[Path, ...], loading: Loading, around: Around
) -> str:
    name = fields.text(key)
    if fields.values[key] == "":
        where = fields.values.where(key)
        fields.note("import_playbook: names no file", where, "Write import_playbook: FILE.")
    if not isinstance(name, TemplateText):
        return name
    known = {**around.variables, **loading.extra, "playbook_dir": str(files[-1].parent.absolute())}
    try:
        return str(known_value(name, known, name.origin))
    except NotKnownYet as error:
        message = f"import_playbook: {error.name} is not known while loading"
        fields.note(message, name.origin, "Plays are read before any host is known; give it by -e.")
    except TemplateProblem as error:
        fields.problems.append(error.problem)
    return ""


def _is_refused(
    fields: Fields, key: str, path: Path, files: tuple[Path, ...], loading: Loading
) -> bool:
    where = fields.values.where(key)
    whole = [file.resolve() for file in files]
    if path.resolve() in whole:
        begin = whole.index(path.resolve())
        chain = " → ".join(file.name for file in (*files[begin:], path))
        message = f"import_playbook goes round in a circle: {chain}"
        fields.note(message, where, "Take one of these imports out.")
        return True
    if len(loading.imported) >= MAX_IMPORTS:
        fields.note(f"import_playbook: more than {MAX_IMPORTS} files are read", where)
        return True
    return False
