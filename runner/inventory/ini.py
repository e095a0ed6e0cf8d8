"""Inventories in Ansible's INI dialect, with its typing of values."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

from runner.errors import Origin
from runner.inventory.documents import add_hosts
from runner.inventory.tree import Tree
from runner.playbook.document import TemplateText
from runner.playbook.keywords import nearest
from runner.playbook.source import TEMPLATE_MARK, read_text

_SECTION = re.compile(r"^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?$")
_KINDS = ("hosts", "vars", "children")


def read_ini_inventory(tree: Tree, path: Path) -> None:
    """Add the hosts of an INI file: [group], [group:vars], [group:children], host lines."""
    text, problem = read_text(path)
    if problem:
        tree.problems.append(problem)
        return
    group, kind = "ungrouped", "hosts"
    tree.group("ungrouped", Origin(str(path), 1, 1))
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        where = Origin(str(path), number, len(raw) - len(raw.lstrip()) + 1)
        if not line or line[0] in "#;":
            continue
        # A line like [a:f].example is a host, not a section: its bracket closes before the end.
        if line.startswith("[") and _SECTION.match(line):
            group, kind = _section(tree, line, where)
        elif kind == "vars":
            _variable(tree, group, line, where)
        elif kind == "children":
            _child(tree, group, line, where)
        elif kind == "hosts":
            _host(tree, group, line, where)


def _section(tree: Tree, line: str, where: Origin) -> tuple[str, str]:
    match = _SECTION.match(line)
    name, kind = (match[1], match[2] or "hosts") if match else ("", "")
    if kind not in _KINDS:
        tree.note(f"[{name}:{kind}] is no kind of section", where, nearest(kind, _KINDS))
        return name, "none"
    tree.group(name, where)
    return name, kind


def _variable(tree: Tree, group: str, line: str, where: Origin) -> None:
    name, equals, text = line.partition("=")
    if not equals:
        tree.note(
            f"[{group}:vars]: expected name=value, found {line!r}",
            where,
            f"Hosts stand under [{group}], groups under [{group}:children].",
        )
        return
    tree.group(group, where).set(name.strip(), typed(text.strip(), where), where)


def _child(tree: Tree, group: str, line: str, where: Origin) -> None:
    words = _words(line)
    if words is None or len(words) != 1:
        tree.note(f"[{group}:children]: expected the name of one group, found {line!r}", where)
        return
    tree.child(group, words[0], where)


def _host(tree: Tree, group: str, line: str, where: Origin) -> None:
    words = _words(line)
    if words is None:
        tree.note(f"a quote is not closed: {line}", where, "Close it on the same line.")
        return
    if not words:
        return
    pattern, *variables = words
    if "=" in pattern:
        tree.note(
            f"a host's line begins with its name, found {pattern}",
            where,
            f"Variables of the group stand under [{group}:vars].",
        )
        return
    if pattern.startswith("[") and pattern.endswith("]") and pattern.count(":") == 0:
        tree.note(f"{pattern} is no section and no range", where, "Write [group] or name[1:3].")
        return
    hosts = add_hosts(tree, group, pattern, where)
    for word in variables:
        name, equals, text = word.partition("=")
        if not equals:
            tree.note(
                f"expected name=value after the host's name, found {word!r}",
                where,
                "One host a line; quote values that hold blanks.",
            )
            continue
        for host in hosts:
            tree.hosts[host].set(name, typed(text, where), where)


def _words(line: str) -> list[str] | None:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return None


def typed(text: str, where: Origin | None = None) -> Any:
    """A value as Ansible types it: Python literals (5, True, [1, 2], "text"), else the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if isinstance(value, str) and TEMPLATE_MARK.search(value):
        return TemplateText(value, where)
    if isinstance(value, set | tuple | bytes | complex):
        return text
    return value
