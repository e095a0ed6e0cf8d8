"""Inventories as TOML, in the dialect of Ansible's toml plugin."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.inventory.documents import GROUP_KEYS, add_hosts
from runner.inventory.tree import Tree
from runner.playbook.fields import kind_of
from runner.playbook.keywords import nearest
from runner.playbook.source import MAX_DEPTH, as_template, is_deep, read_text

_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""(\s*)((?:"[^"]*"|'[^']*'|[\w.\-]|\s(?!=))+?)\s*=""")

Keys = tuple[str, ...]


def read_toml_inventory(tree: Tree, path: Path) -> None:
    """Add the hosts of a TOML file: [GROUP.hosts.HOST], [GROUP.vars], GROUP.children = [...]."""
    text, problem = read_text(path)
    if problem:
        tree.problems.append(problem)
        return
    try:
        data = tomllib.loads(text)
        if is_deep(data):
            raise RecursionError
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        tree.problems.append(_mistake(path, error))
        return
    _Reader(tree, path, text).read(data)


def _mistake(path: Path, error: Exception) -> Problem:
    if isinstance(error, RecursionError):
        message = f"nested more than {MAX_DEPTH} levels deep"
        return Problem(message, Origin(str(path)), "Is it the right file?")
    at = _AT.search(str(error))
    line, column = (int(at[1]), int(at[2])) if at and at[1] else (0, 0)
    message = f"is not TOML: {_AT.sub('', str(error))}"
    return Problem(message, Origin(str(path), line, column), "Check quotes and brackets.")


class _Reader:
    def __init__(self, tree: Tree, path: Path, text: str) -> None:
        self.tree = tree
        self.file = str(path)
        self.places = dict(_places(self.file, text))

    def at(self, *keys: str) -> Origin:
        """Where a value was written, else what it stands in."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.places:
                return self.places[keys[:end]]
        return Origin(self.file)

    def read(self, data: Mapping[str, Any]) -> None:
        if data.get("plugin"):
            self.tree.note(
                f"inventory plugin {data['plugin']} is not offered in TOML",
                self.at("plugin"),
                "Write plugin: kubernetes into a YAML file.",
            )
            return
        if not data:
            self.tree.note("the inventory is empty", Origin(self.file), "Begin with [GROUP.hosts].")
        for name, body in data.items():
            self.group(name, body)

    def group(self, name: str, body: Any) -> None:
        where = self.at(name)
        group = self.tree.group(name, where)
        if not isinstance(body, dict):
            message = f"group {name}: expected hosts, vars or children, found {kind_of(body)}"
            self.tree.note(message, where)
            return
        for key in body:
            if key not in GROUP_KEYS:
                hint = nearest(key, GROUP_KEYS)
                self.tree.note(f"group {name} has no key {key}", self.at(name, key), hint)
        for pattern, variables in self.section(name, body, "hosts", dict).items():
            self.host(name, pattern, variables)
        for variable, value in self.section(name, body, "vars", dict).items():
            place = self.at(name, "vars", variable)
            group.set(variable, as_template(value, place), place)
        for child in self.section(name, body, "children", list):
            self.tree.child(name, str(child), self.at(name, "children"))

    def section(self, name: str, body: Mapping[str, Any], key: str, kind: type) -> Any:
        value = body.get(key, kind())
        if not isinstance(value, kind):
            wanted = "a table" if kind is dict else "a list of names"
            message = f"group {name}: {key} must be {wanted}, found {kind_of(value)}"
            self.tree.note(message, self.at(name, key))
            return kind()
        return value

    def host(self, group: str, pattern: str, variables: Any) -> None:
        where = self.at(group, "hosts", pattern)
        if not isinstance(variables, dict):
            message = f"host {pattern}: expected a table of variables, found {kind_of(variables)}"
            self.tree.note(message, where, f"Write {pattern} = {{}} or [{group}.hosts.{pattern}].")
            return
        for host in add_hosts(self.tree, group, pattern, where):
            for variable, value in variables.items():
                place = self.at(group, "hosts", pattern, variable)
                self.tree.hosts[host].set(variable, as_template(value, place), place)


def _places(file: str, text: str) -> Iterator[tuple[Keys, Origin]]:
    """Where tables and keys are written. tomllib keeps no positions; a line each is enough here."""
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = _keys(header[1])
            yield table, Origin(file, number, line.index("[") + 1)
            continue
        key = _KEY.match(line)
        if key:
            yield (*table, *_keys(key[2])), Origin(file, number, len(key[1]) + 1)


def _keys(text: str) -> Keys:
    """The parts of a dotted key."""
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    found: list[str] = []
    while isinstance(value, dict):
        name = next(iter(value))
        found.append(name)
        value = value[name]
    return tuple(found)
