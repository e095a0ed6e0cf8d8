"""`lookup` and `query`: what an expression may read on the controller.

A lookup is evaluated when an expression that holds it is, and once per run for equal calls, so
that a plan and its apply see the same. What it gives is data, never a template.

Lookups that read the controller take text of the playbook, the inventory and `-e` only. Text that
came from a host (facts, results, and what was made of them) is refused: a host could otherwise
choose which command runs here, or which of our files is sent to it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError, UndefinedError

from runner.playbook import limits
from runner.playbook.controller import Failed, command_output, find_file, once, read_file
from runner.playbook.document import TemplateText
from runner.playbook.filters.absent import short_name
from runner.playbook.filters.lists import product
from runner.playbook.filters.mappings import dict2items
from runner.playbook.sequence import sequence
from runner.playbook.syntax import NAMES_ARGUMENT

OWN = "gpurun own names"
"""Key among the variables: the set of names whose values are the user's own text. It is no
identifier, so no expression can reach it. A name that is not in the set may hold a host's text."""

_LOG = logging.getLogger("gpurun")


class Call:
    """One call of a lookup.

    Args:
        variables: the variables of the rendering (`expressions.Variables`).
        names: variables that the arguments use; None where the call does not tell.
        options: the named arguments.
    """

    def __init__(
        self,
        name: str,
        variables: Any,
        names: Iterable[str] | None,
        options: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.variables = variables
        self.names = names
        self.options = options

    @property
    def folder(self) -> Path:
        """The playbook's folder."""
        folder = self.variables.variables.get("playbook_dir")
        if folder is None:
            raise Failed("there is no playbook here, so no folder to look in")
        return Path(folder)

    def places(self, kind: str) -> tuple[Path, ...]:
        """Where files are looked for: `kind` (`files` or `templates`) of the role and the role,
        `kind` beside the playbook, beside the playbook itself, `kind` of the project."""
        variables = self.variables.variables
        named = variables.get("role_path") if "role_path" in variables.get(OWN, ()) else None
        role = (Path(named) / kind, Path(named)) if isinstance(named, str) else ()
        return (*role, self.folder / kind, self.folder, self.folder.parent / kind)

    def own_text_only(self) -> None:
        """Raises `SecurityError` where an argument may come from a host."""
        if self.names is None:
            raise SecurityError(f"a lookup is called by its own name: lookup('{self.name}', ...)")
        found = foreign_names(self.names, self.variables.variables)
        if found:
            raise SecurityError(
                f"lookup {self.name} reads the controller, and its arguments may come from a host "
                f"({', '.join(sorted(found))}); give it variables of the playbook or inventory only"
            )


def _env(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    found = []
    for term in terms:
        value = once(("env", term), partial(os.environ.get, str(term)))
        found.append(call.options.get("default", "") if value is None else value)
    return found


def _file(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    found = []
    for term in terms:
        path = find_file(call.places("files"), str(term))
        if path is None and "default" in call.options:
            found.append(call.options["default"])
            continue
        text = read_file(call.places("files"), str(term))
        text = text.lstrip() if call.options.get("lstrip", False) else text
        found.append(text.rstrip() if call.options.get("rstrip", True) else text)
    return found


def _template(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    found = []
    for term in terms:
        path = find_file(call.places("templates"), str(term))
        text = read_file(call.places("templates"), str(term))
        more = call.options.get("template_vars", {})
        found.append(call.variables.render_file(text, str(path), more))
    return found


def _pipe(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    return [command_output(str(term), call.folder).rstrip() for term in terms]


def _lines(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    return [line for term in terms for line in command_output(str(term), call.folder).splitlines()]


def _vars(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    found = []
    for term in terms:
        if not isinstance(term, str):
            raise Failed(f"{term!r} is not the name of a variable")
        if term in call.variables.variables and term != OWN:
            found.append(call.variables[term])
        elif "default" in call.options:
            found.append(call.options["default"])
        else:
            raise UndefinedError(f"'{term}' is undefined")
    return found


def _first_found(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    looked = []
    for name in _candidates(call, terms or (call.options.get("files", []),)):
        path = find_file(call.places("files"), name)
        if path is not None:
            return [str(path)]
        looked.append(name)
    if "default" in call.options:
        return [call.options["default"]]
    if call.options.get("skip", False):
        return []
    raise Failed(f"none of these files is there: {', '.join(looked) or '(no name given)'}")


def _candidates(call: Call, terms: Iterable[Any]) -> Iterable[str]:
    for term in terms:
        if isinstance(term, Mapping):
            yield from _in_paths(term.get("files", []), term.get("paths", []))
        elif isinstance(term, list | tuple):
            yield from _candidates(call, term)
        else:
            yield from _in_paths(term, call.options.get("paths", []))


def _in_paths(files: Any, paths: Any) -> Iterable[str]:
    names = [files] if isinstance(files, str) else list(files)
    folders = [paths] if isinstance(paths, str) else list(paths)
    return [str(Path(folder) / name) for folder in folders or [""] for name in names]


def _fileglob(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = []
    for term in terms:
        pattern = Path(str(term))
        for place in call.places("files"):
            folder = place / pattern.parent
            names = sorted(str(path) for path in folder.glob(pattern.name) if path.is_file())
            if names:
                found += names
                break
    return found


def _dict(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    return [item for term in terms for item in dict2items(term)]


def _items(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = []
    for term in terms:
        found += term if isinstance(term, list | tuple) else [term]
    return found


def _nested(call: Call, terms: tuple[Any, ...]) -> list[Any]:
    if not terms:
        raise Failed("nested needs at least one list")
    return list(product(*terms))


LOOKUPS: dict[str, tuple[Callable[[Call, tuple[Any, ...]], list[Any]], bool, tuple[str, ...]]] = {
    "dict": (_dict, False, ()),
    "env": (_env, True, ("default",)),
    "file": (_file, True, ("default", "lstrip", "rstrip")),
    "fileglob": (_fileglob, True, ()),
    "first_found": (_first_found, True, ("default", "files", "paths", "skip")),
    "items": (_items, False, ()),
    "lines": (_lines, True, ()),
    "list": (lambda call, terms: list(terms), False, ()),
    "nested": (_nested, False, ()),
    "pipe": (_pipe, True, ()),
    "sequence": (
        lambda call, terms: sequence(terms, call.options),
        False,
        ("start", "end", "stride", "count", "format"),
    ),
    "template": (_template, True, ("template_vars",)),
    "vars": (_vars, False, ("default",)),
}
"""Name -> what it does, whether it reads the controller, and the options it takes."""


class Lookup:
    """`lookup(name, terms..., options...)`; as `query` it gives a list always."""

    def __init__(self, *, lists: bool) -> None:
        self.lists = lists

    def run(self, variables: Any, terms: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """The value of one call.

        Raises:
            ValueError: it failed, or was not called rightly.
            SecurityError: it was given a host's text.
        """
        options = dict(options)
        names = options.pop(NAMES_ARGUMENT, None)
        errors = options.pop("errors", "strict")
        as_list = options.pop("wantlist", False) or self.lists
        if errors not in ("strict", "warn", "ignore"):
            raise ValueError(f"lookup: errors={errors!r} is none of strict, warn, ignore")
        if not terms:
            raise ValueError("lookup: name what to look up: lookup('env', 'HOME')")
        name = short_name(str(terms[0]))
        if name not in LOOKUPS:
            raise ValueError(f"there is no lookup named {name}; known: {', '.join(LOOKUPS)}")
        values = self._values(Call(name, variables, names, options), terms[1:], errors)
        if values is None:
            return [] if as_list else None
        return values if as_list else _joined(values)

    def _values(self, call: Call, terms: tuple[Any, ...], errors: str) -> list[Any] | None:
        function, reads_controller, known = LOOKUPS[call.name]
        for option in call.options:
            if option not in known:
                hint = f"it takes {', '.join(known)}" if known else "it takes none"
                raise ValueError(f"lookup {call.name}: there is no option {option}; {hint}")
        if reads_controller:
            call.own_text_only()
        try:
            return function(call, terms)
        except Failed as error:
            if errors == "strict":
                raise ValueError(f"lookup {call.name}: {error}") from None
            if errors == "warn":
                _LOG.warning("lookup %s: %s", call.name, str(error).encode("unicode_escape"))
            return None


def _joined(values: list[Any]) -> Any:
    """As Ansible's `lookup`: one value alone, several texts with commas, else the list."""
    if len(values) == 1:
        return values[0]
    if values and all(isinstance(value, str) for value in values):
        limits.check_join(",", values)
        return ",".join(values)
    return values


LOOKUP = Lookup(lists=False)
QUERY = Lookup(lists=True)


def foreign_names(names: Iterable[str], variables: Mapping[str, Any]) -> set[str]:
    """Those of the names that may hold a host's text, also through the templates of variables.

    Args:
        variables: with the set `OWN`; without it every name is foreign.
    """
    from runner.playbook.functions import FUNCTIONS
    from runner.playbook.templates import variable_names

    own = variables.get(OWN, frozenset())
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [name for name in names if name in variables or name not in FUNCTIONS]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in own:
            found.add(name)
            continue
        used = {inner for text in _templates(variables.get(name)) for inner in variable_names(text)}
        waiting += [inner for inner in used if inner in variables or inner not in FUNCTIONS]
    return found


def with_results(variables: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The variables, and over them some that may hold a host's text."""
    return {**variables, **added, OWN: variables.get(OWN, frozenset()) - set(added)}


def loop_variables(
    variables: Mapping[str, Any], loop: Any, added: Mapping[str, Any]
) -> dict[str, Any]:
    """The variables of one round of a task's loop: `added` (the item) stands for the user's own
    text if the loop does.

    Args:
        loop: as written, with its templates.
    """
    from runner.playbook.templates import variable_names

    used = {name for text in _templates(loop) for name in variable_names(text)}
    if foreign_names(used, variables):
        return with_results(variables, added)
    return {**variables, **added, OWN: variables.get(OWN, frozenset()) | set(added)}


def _templates(value: Any) -> Iterable[str]:
    if isinstance(value, TemplateText):
        yield str(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _templates(key)
            yield from _templates(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _templates(item)
