"""What an inventory holds, for people and machines: list, tree, one host, and who set what."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from runner.errors import InputError, Problem
from runner.inventory.patterns import exists
from runner.inventory.tree import PRIORITY, Setting, Tree
from runner.secrets.redact import KNOWN, mark
from runner.secrets.value import Secret, Unread

_SECRET_NAMES = ("password", "become_pass", "ssh_pass", "sudo_pass")
MAX_LINES = 1_000_000
"""A tree repeats a group under each of its parents, which few of them can make endless."""


def as_list(tree: Tree, within: Collection[str] | None = None) -> dict[str, Any]:
    """The inventory in the structure of `ansible-inventory --list`.

    Args:
        within: only these hosts (`--limit`).
    """
    shown = {name: None for name in tree.hosts if within is None or name in within}
    found: dict[str, Any] = {
        "_meta": {"hostvars": {name: values for name in shown if (values := of(tree, name))}}
    }
    for group in tree.groups.values():
        body: dict[str, Any] = {}
        if group.children:
            body["children"] = list(group.children)
        if group.name != "all" and (hosts := [host for host in group.hosts if host in shown]):
            body["hosts"] = hosts
        if body:
            found[group.name] = body
    return found


def of(tree: Tree, host: str) -> dict[str, Any]:
    """The merged variables of a host; passwords are hidden.

    Raises:
        InputError: there is no such host.
    """
    _must_exist(tree, host)
    return {name: _shown(setting) for name, setting in tree.merged(host).items()}


def as_graph(
    tree: Tree,
    start: str = "all",
    within: Collection[str] | None = None,
    *,
    with_variables: bool = False,
) -> str:
    """The groups and hosts as a tree, as `ansible-inventory --graph` draws it.

    Args:
        start: the group at the top.
        within: only these hosts (`--limit`).

    Raises:
        InputError: there is no group `start`, or the tree has no end in sight.
    """
    if start not in tree.groups:
        hint = exists(tree.hosts, tree.members)
        raise InputError([Problem(f"the inventory has no group {start}", None, hint)])
    shown = tree.hosts if within is None else within
    lines = list(islice(_branch(tree, start, 0, shown, with_variables), MAX_LINES + 1))
    if len(lines) > MAX_LINES:
        message = f"the tree has more than {MAX_LINES} lines: groups stand in many others"
        raise InputError([Problem(message, None, "Use --list, or name a GROUP to begin with.")])
    return "\n".join(lines)


def blame(tree: Tree, host: str) -> str:
    """Every variable of a host with where it was set and what that overrode."""
    _must_exist(tree, host)
    layers: dict[str, list[Setting]] = {}
    for setting in tree.settings_of(host):
        layers.setdefault(setting.name, []).append(setting)
    lines = []
    for name in sorted(layers):
        *overridden, winner = layers[name]
        lines.append(f"{name} = {_text(winner)}    {_from(winner)}")
        lines += [f"    over {_text(old)}    {_from(old)}" for old in reversed(overridden)]
    return "\n".join(lines)


def _from(setting: Setting) -> str:
    return f"{setting.origin} ({setting.by})"


def _text(setting: Setting) -> str:
    import json

    return json.dumps(_shown(setting), ensure_ascii=False, default=str)


def _shown(setting: Setting) -> Any:
    if setting.name.endswith(_SECRET_NAMES):
        return mark(setting.name)
    return KNOWN.data(_plain(setting.value))


def _plain(value: Any) -> Any:
    """Data as JSON has it; the names of secrets stand in their place, none is read for it."""
    import json

    if isinstance(value, Secret | Unread):
        return mark(value.name)
    if isinstance(value, Mapping):
        return {
            str(key) if isinstance(key, str) else json.dumps(key): _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _branch(
    tree: Tree, name: str, depth: int, shown: Collection[str], with_variables: bool
) -> Iterator[str]:
    group = tree.groups[name]
    yield _node(f"@{name}:", depth)
    for child in group.children:
        yield from _branch(tree, child, depth + 1, shown, with_variables)
    for host in (host for host in group.hosts if host in shown and name != "all"):
        yield _node(host, depth + 1)
        if with_variables:
            yield from _variables(of(tree, host), depth + 2)
    if with_variables:
        merged = {item.name: _shown(item) for item in tree.settings_of_group(name)}
        if group.priority != 1:
            merged[PRIORITY] = group.priority
        yield from _variables(merged, depth + 1)


def _node(text: str, depth: int) -> str:
    return "  |" * depth + f"--{text}" if depth else text


def _variables(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for name, value in sorted(values.items()):
        yield _node(f"{{{name} = {value}}}", depth)


def _must_exist(tree: Tree, host: str) -> None:
    if host not in tree.hosts:
        hint = exists(tree.hosts, tree.members)
        raise InputError([Problem(f"the inventory has no host {host}", None, hint)])
