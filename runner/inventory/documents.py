"""Inventories as YAML or JSON, in Ansible's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import Origin
from runner.inventory.listing import add_listing
from runner.inventory.ranges import MAX_HOSTS, expand, split_port
from runner.inventory.tree import Entry, Tree
from runner.playbook.document import Map
from runner.playbook.fields import kind_of
from runner.playbook.keywords import nearest
from runner.playbook.source import Document, read_yaml

GROUP_KEYS = ("hosts", "vars", "children")
_KUBERNETES = ("kubernetes", "gpurun.kubernetes")
_INSTEAD = {
    "constructed": "Write its groups as children: of a YAML inventory beside it.",
    "generator": "Write the names as ranges: gpu-[01:16].",
    "host_list": "Give the list itself: -i host1,host2,",
    "advanced_host_list": "Give the list itself: -i 'gpu-[01:16],'",
    "script": "Give the program itself: -i ./list.sh",
    "yaml": "Remove the line plugin: the file is read as YAML.",
}
"""Inventory plugins of ansible-core, and what does the same here."""


def read_yaml_inventory(tree: Tree, path: Path, *, may_be_empty: bool = False) -> None:
    """Add the hosts of a YAML or JSON file.

    Args:
        may_be_empty: an empty file is no mistake.
    """
    document = read_yaml(path, yaml_1_1=True)
    tree.problems += document.problems
    if document.value is not None or not may_be_empty:
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
    if value.get("plugin"):
        _add_plugin(tree, value)
        return
    if "_meta" in value:
        # What ansible-inventory --list printed.
        add_listing(tree, value, document.origin, lambda host: {})
        return
    for name, body in value.items():
        where = value.keys_at.get(name) or document.origin
        tree.group(name, where)
        _add_group(tree, name, body, value.where(name) or where)


def _add_plugin(tree: Tree, value: Map) -> None:
    """What `plugin:` names: the Kubernetes source, else Ansible's, which is refused."""
    name = str(value["plugin"])
    if name in _KUBERNETES:
        from runner.inventory.kubernetes import add_nodes

        add_nodes(tree, value)
        return
    short = name.removeprefix("ansible.builtin.")
    otherwise = (
        "Save what it finds, and name that file: "
        f"ansible-inventory -i {value.origin and value.origin.file} --list --export > hosts.json; "
        "for the nodes of a cluster write plugin: kubernetes."
    )
    tree.note(
        f"inventory plugin {name} is not offered",
        value.where("plugin"),
        _INSTEAD.get(short, otherwise),
    )


def _add_group(tree: Tree, name: str, body: Any, where: Origin) -> None:
    if body is None:
        return
    if not isinstance(body, Map):
        tree.note(f"group {name}: expected hosts, vars or children, found {kind_of(body)}", where)
        return
    for key in body:
        if key not in GROUP_KEYS:
            hint = nearest(key, GROUP_KEYS)
            if hint.startswith("Known"):
                hint = f"Groups stand under children:, hosts under hosts:. {hint}"
            tree.note(f"group {name} has no key {key}", body.keys_at.get(key), hint)
    # In the order of the file: what is set later for a host wins.
    for key in body:
        for item, value in _section(tree, name, body, key) if key in GROUP_KEYS else ():
            place = _place(body, key, item, where)
            if key == "hosts":
                _add_host(tree, name, item, value, place)
            elif key == "vars":
                tree.group(name, where).set(item, value, place)
            else:
                tree.group(item, place)
                _add_group(tree, item, value, place)
                tree.child(name, item, place)


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
    for host in add_hosts(tree, group, pattern, where):
        entry = tree.hosts[host]
        for variable, value in (variables or {}).items():
            place = variables.where(variable) if isinstance(variables, Map) else where
            entry.set(variable, value, place or where)


def add_hosts(tree: Tree, group: str, pattern: str, where: Origin) -> list[str]:
    """Add the hosts of a name, perhaps with ranges and a port; their names."""
    name, port = split_port(pattern)
    try:
        hosts = list(expand(name))
        if not pattern or "" in hosts:
            raise ValueError("a host has no name")
        if pattern.endswith(":") and port is None:
            raise ValueError(f"{pattern} ends with a colon: a port is missing")
    except ValueError as error:
        tree.note(str(error), where)
        return []
    if len(tree.hosts) + len(hosts) > MAX_HOSTS:
        if not tree.is_full:
            tree.is_full = True
            tree.note(f"the inventory has more than {MAX_HOSTS} hosts", where, "Check its ranges.")
        return []
    for host in hosts:
        known = host in tree.hosts
        entry = tree.host(host, where, group)
        if port is not None:
            _set_port(tree, entry, port, where, known)
    return hosts


def _set_port(tree: Tree, entry: Entry, port: int, where: Origin, known: bool) -> None:
    """Ansible takes a port only where it meets a host first; another one later is a mistake."""
    before = entry.settings.get("ansible_port")
    if not known:
        entry.set("ansible_port", port, where)
    elif not before or str(before[-1].value) != str(port):
        first = before[-1].origin if before else entry.origin
        tree.note(
            f"host {entry.name} is given port {port} here, and "
            f"{before[-1].value if before else 'none'} at {first}",
            where,
            "Write the port where the host is named first, or ansible_port.",
        )
