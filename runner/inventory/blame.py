"""What an inventory holds, for people and machines: list, tree, one host, and who set what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.errors import InputError, Problem
from runner.inventory.patterns import exists
from runner.inventory.tree import Setting, Tree
from runner.playbook.filters import plain
from runner.secrets.redact import KNOWN, mark
from runner.secrets.value import Secret, Unread

_SECRET_NAMES = ("password", "become_pass", "ssh_pass", "sudo_pass")


def as_list(tree: Tree) -> dict[str, Any]:
    """The inventory in the structure of `ansible-inventory --list`."""
    found: dict[str, Any] = {
        "_meta": {"hostvars": {name: values for name in tree.hosts if (values := of(tree, name))}}
    }
    for group in tree.groups.values():
        children = [
            child
            for child in group.children
            if child != "ungrouped" or tree.groups["ungrouped"].hosts
        ]
        body: dict[str, Any] = {}
        if children:
            body["children"] = children
        if group.hosts and group.name != "all":
            body["hosts"] = list(group.hosts)
        if body:
            found[group.name] = body
    return found


def of(tree: Tree, host: str) -> dict[str, Any]:
    """The merged variables of a host; passwords are hidden.

    Raises:
        InputError: there is no such host.
    """
    _must_exist(tree, host)
    return {setting.name: _shown(setting) for setting in tree.settings_of(host)}


def as_graph(tree: Tree) -> str:
    """The groups and hosts as a tree, as `ansible-inventory --graph` draws it."""
    return "\n".join(_branch(tree, "all", 0))


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
    return KNOWN.data(plain(_marked(setting.value)))


def _marked(value: Any) -> Any:
    """A value with the names of secrets in their place; none is read for it."""
    if isinstance(value, Secret | Unread):
        return mark(value.name)
    if isinstance(value, Mapping):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return value


def _branch(tree: Tree, group: str, depth: int) -> Iterator[str]:
    start = "  |" * depth + "--" if depth else ""
    yield f"{start}@{group}:"
    for child in tree.groups[group].children:
        yield from _branch(tree, child, depth + 1)
    if group != "all":
        for host in tree.groups[group].hosts:
            yield "  |" * (depth + 1) + f"--{host}"


def _must_exist(tree: Tree, host: str) -> None:
    if host not in tree.hosts:
        hint = exists(list(tree.hosts), tree.members)
        raise InputError([Problem(f"the inventory has no host {host}", None, hint)])
