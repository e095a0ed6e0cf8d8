"""Inventories in Ansible's INI dialect, with its typing of values."""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path
from typing import Any

from runner.errors import Origin
from runner.inventory.documents import add_hosts
from runner.inventory.tree import Tree
from runner.inventory.words import split_words
from runner.playbook.keywords import nearest
from runner.playbook.source import as_template, read_text

_SECTION = re.compile(r"^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?$")
_NAME = re.compile(r"^([^:\]\s]+)\s*(?:#.*)?$")
_TEXT = re.compile(r"[A-Za-z_][\w.:/@-]*|\d+(?:\.\d+){2,}")
"""Names, paths and addresses, which no literal of Python looks like but for its three words."""
_LITERAL_WORDS = ("True", "False", "None")
_KINDS = ("hosts", "vars", "children")


def read_ini_inventory(tree: Tree, path: Path) -> None:
    """Add the hosts of an INI file: [group], [group:vars], [group:children], host lines."""
    text, problem = read_text(path)
    if problem:
        tree.problems.append(problem)
        return
    reader = _Reader(tree)
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line and line[0] not in "#;":
            reader.line(line, Origin(str(path), number, len(raw) - len(raw.lstrip()) + 1))
    reader.end()


class _Reader:
    """Reads line by line. Groups must be declared: a [section] of their own, or earlier sources."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.group, self.kind = "ungrouped", "hosts"
        self.declared = set(tree.groups)
        self.waiting: dict[str, list[tuple[str, Origin]]] = {}
        """Children that are named before they are declared: name -> parents."""
        self.described: dict[str, Origin] = {}
        """Groups that have a section of variables, and where the first one is."""

    def line(self, line: str, where: Origin) -> None:
        # A line like [a:f].example is a host, not a section: its bracket closes before the end.
        section = _SECTION.match(line)
        if section:
            self.section(section[1], section[2] or "hosts", where)
        elif line.startswith("[") and line.endswith("]"):
            self.tree.note(
                f"{_shown(line)} is no section and no range",
                where,
                "Write [group], without blanks in it, or name[1:3].",
            )
        elif self.kind == "vars":
            self.variable(line, where)
        elif self.kind == "children":
            self.child(line, where)
        elif self.kind == "hosts":
            _host(self.tree, self.group, line, where)

    def section(self, name: str, kind: str, where: Origin) -> None:
        self.group, self.kind = name, kind
        if kind not in _KINDS:
            self.tree.note(f"[{name}:{kind}] is no kind of section", where, nearest(kind, _KINDS))
            self.kind = "none"
            return
        self.tree.group(name, where)
        if kind == "vars":
            self.described.setdefault(name, where)
            return
        self.declared.add(name)
        for parent, place in self.waiting.pop(name, []):
            self.tree.child(parent, name, place)

    def variable(self, line: str, where: Origin) -> None:
        name, equals, text = line.partition("=")
        if not equals:
            self.tree.note(
                f"[{self.group}:vars]: expected name=value, found {_shown(line)!r}",
                where,
                f"Hosts stand under [{self.group}], groups under [{self.group}:children].",
            )
            return
        self.tree.group(self.group, where).set(name.strip(), typed(text.strip(), where), where)

    def child(self, line: str, where: Origin) -> None:
        match = _NAME.match(line)
        if not match:
            message = (
                f"[{self.group}:children]: expected the name of one group, found {_shown(line)!r}"
            )
            self.tree.note(message, where)
        elif match[1] in self.tree.groups:
            self.tree.child(self.group, match[1], where)
        else:
            self.waiting.setdefault(match[1], []).append((self.group, where))

    def end(self) -> None:
        """Note the groups that were named but not declared."""
        known = sorted(self.declared - {"all", "ungrouped"})
        for child, parents in self.waiting.items():
            for parent, where in parents:
                self.tree.note(
                    f"[{parent}:children]: there is no group {child}",
                    where,
                    f"Declare it with [{child}]. {nearest(child, known)}",
                )
        for name, where in self.described.items():
            if name not in self.declared:
                self.tree.note(
                    f"[{name}:vars]: there is no group {name}",
                    where,
                    f"Declare it with [{name}]. {nearest(name, known)}",
                )


def _host(tree: Tree, group: str, line: str, where: Origin) -> None:
    words = _words(line)
    if words is None:
        tree.note(f"a quote is not closed: {_shown(line)}", where, "Close it on the same line.")
        return
    if not words:
        return
    pattern, *variables = words
    if "=" in pattern:
        tree.note(
            f"a host's line begins with its name, found {_shown(pattern)}",
            where,
            f"Variables of the group stand under [{group}:vars].",
        )
        return
    if pattern == "---":
        tree.note("--- begins a YAML file, this is read as INI", where, "End its name in .yaml.")
        return
    hosts = add_hosts(tree, group, pattern, where)
    for word in variables:
        name, equals, text = word.partition("=")
        if not equals:
            tree.note(
                f"expected name=value after the host's name, found {_shown(word)!r}",
                where,
                "One host a line; quote values that hold blanks.",
            )
            continue
        for host in hosts:
            tree.hosts[host].set(name, typed(text, where), where)


def _words(line: str) -> list[str] | None:
    """A line's words by the rules of the shell; None where a quote is not closed."""
    try:
        return split_words(line)
    except ValueError:
        return None


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def typed(text: str, where: Origin) -> Any:
    """A value as Ansible types it: Python literals (5, True, [1, 2], "text"), else the text."""
    if _TEXT.fullmatch(text) and text not in _LITERAL_WORDS:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = text
    return as_template(_portable(value), where)


def _portable(value: Any) -> Any:
    """Python's literals as the types of JSON, as Ansible turns them."""
    if isinstance(value, list | tuple | set):
        return [_portable(item) for item in value]
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, complex):
        return str(value)
    return "..." if value is ... else value
