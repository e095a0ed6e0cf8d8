"""Inventories as YAML (Ansible's dialect) and as a program's JSON."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.inventory.ranges import expand, split_port
from runner.inventory.tree import Tree
from runner.playbook.document import Map
from runner.playbook.fields import kind_of
from runner.playbook.keywords import nearest
from runner.playbook.source import Document, read_yaml

_GROUP_KEYS = ("hosts", "vars", "children")
PROGRAM_SECONDS = 60.0
"""A program that lists hosts is stopped after this time."""


def read_yaml_inventory(tree: Tree, path: Path) -> None:
    """Add the hosts of a YAML file."""
    document = read_yaml(path, boolean_words=True)
    tree.problems += document.problems
    add_document(tree, document)


def add_document(tree: Tree, document: Document) -> None:
    """Add groups of a parsed document: group -> hosts, vars, children."""
    value = document.value
    if value is None:
        if not document.problems:
            tree.note(
                "the inventory is empty",
                Origin(document.file),
                "Begin with a group: all:, then hosts: and a name under it.",
            )
        return
    if not isinstance(value, Map):
        tree.note(
            f"an inventory is a mapping of groups, found {kind_of(value)}",
            document.origin,
            "Begin with a group: all:, then hosts: and a name under it.",
        )
        return
    if "plugin" in value:
        tree.note(
            f"inventory plugin {value['plugin']} is not offered",
            value.where("plugin"),
            "Use an executable that prints JSON for --list, or a file.",
        )
        return
    for name, body in value.items():
        where = value.keys_at.get(name) or document.origin
        tree.group(name, where)
        _add_group(tree, name, body, value.where(name) or where)


def _add_group(tree: Tree, name: str, body: Any, where: Origin) -> None:
    if body is None:
        return
    if not isinstance(body, Map):
        tree.note(f"group {name}: expected hosts, vars or children, found {kind_of(body)}", where)
        return
    for key in body:
        if key not in _GROUP_KEYS:
            hint = nearest(key, _GROUP_KEYS)
            if hint.startswith("Known"):
                hint = f"Groups stand under children:, hosts under hosts:. {hint}"
            tree.note(f"group {name} has no key {key}", body.keys_at.get(key), hint)
    for host, variables in _section(tree, name, body, "hosts"):
        _add_host(tree, name, host, variables, _place(body, "hosts", host, where))
    for variable, value in _section(tree, name, body, "vars"):
        tree.group(name, where).set(variable, value, _place(body, "vars", variable, where))
    for child, content in _section(tree, name, body, "children"):
        place = _place(body, "children", child, where)
        tree.child(name, child, place)
        _add_group(tree, child, content, place)


def _section(tree: Tree, group: str, body: Map, key: str) -> list[tuple[str, Any]]:
    """The items of one section; a single name may stand for a mapping."""
    value = body.get(key)
    if value is None:
        return []
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, str) and key != "vars":
        return [(value, None)]
    tree.note(
        f"group {group}: {key} is a mapping, found {kind_of(value)}",
        body.where(key),
        f"Write {key}: and each name on its own line, ending with a colon.",
    )
    return []


def _place(body: Map, section: str, key: str, otherwise: Origin) -> Origin:
    value = body.get(section)
    if isinstance(value, Map):
        return value.keys_at.get(key) or otherwise
    return otherwise


def _add_host(tree: Tree, group: str, pattern: str, variables: Any, where: Origin) -> None:
    if variables is not None and not isinstance(variables, Mapping):
        tree.note(
            f"host {pattern}: expected variables, found {kind_of(variables)}",
            where,
            "Write name: value lines under it, or nothing.",
        )
        return
    add_hosts(tree, group, pattern, where)
    name, _ = split_port(pattern)
    try:
        hosts = list(expand(name))
    except ValueError:
        return
    for host in hosts:
        for variable, value in (variables or {}).items():
            place = variables.where(variable) if isinstance(variables, Map) else where
            tree.hosts[host].set(variable, value, place or where)


def add_hosts(tree: Tree, group: str, pattern: str, where: Origin) -> list[str]:
    """Add the hosts of a name, perhaps with ranges and a port; their names."""
    name, port = split_port(pattern)
    try:
        hosts = list(expand(name))
    except ValueError as error:
        tree.note(str(error), where)
        return []
    for host in hosts:
        entry = tree.host(host, where, group)
        if port is not None:
            entry.set("ansible_port", port, where)
    return hosts


def read_program(tree: Tree, path: Path) -> None:
    """Add what a program prints for --list (Ansible's protocol; `_meta`, else --host for each)."""
    where = Origin(str(path))
    data = _run(tree, path, "--list")
    if not isinstance(data, dict):
        return
    meta = data.pop("_meta", None)
    for name, body in data.items():
        tree.group(name, where)
        _add_json_group(tree, name, body, where)
    hostvars = meta.get("hostvars", {}) if isinstance(meta, dict) else None
    for host in list(tree.hosts):
        if tree.hosts[host].origin != where:
            continue
        found = hostvars.get(host, {}) if hostvars is not None else _run(tree, path, "--host", host)
        for key, value in (found if isinstance(found, dict) else {}).items():
            tree.hosts[host].set(str(key), value, where)


def _add_json_group(tree: Tree, name: str, body: Any, where: Origin) -> None:
    if isinstance(body, list):
        body = {"hosts": body}
    if not isinstance(body, dict):
        tree.note(f"group {name}: expected an object or a list, found {kind_of(body)}", where)
        return
    for host in body.get("hosts") or []:
        tree.host(str(host), where, name)
    for key, value in (body.get("vars") or {}).items():
        tree.group(name, where).set(str(key), value, where)
    for child in body.get("children") or []:
        tree.child(name, str(child), where)


def _run(tree: Tree, path: Path, *arguments: str) -> Any:
    """The JSON object a program prints; None and a problem where there is none."""
    shown = " ".join([path.name, *arguments])
    where = Origin(str(path))
    try:
        done = subprocess.run(
            [os.fspath(path.resolve()), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_SECONDS,
            cwd=path.resolve().parent,
            check=False,
        )
    except subprocess.TimeoutExpired:
        tree.note(f"{shown} did not end within {PROGRAM_SECONDS:.0f} s", where, _try(path))
        return None
    except OSError as error:
        tree.note(
            f"{shown} cannot be run: {error.strerror}", where, "Check its first line (#!) and mode."
        )
        return None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        tail = f": {said[-1]}" if said else ""
        tree.note(f"{shown} ended with exit code {done.returncode}{tail}", where, _try(path))
        return None
    try:
        data = json.loads(done.stdout or b"{}")
    except (ValueError, RecursionError) as error:
        tree.problems.append(Problem(f"{shown} printed no JSON: {error}", where, _try(path)))
        return None
    if not isinstance(data, dict):
        tree.note(f"{shown} printed {kind_of(data)}, an object is expected", where, _try(path))
        return None
    return data


def _try(path: Path) -> str:
    return f"Try it by hand: {path} --list"
