"""What `ansible-inventory --list` and programs print: JSON of groups, with hostvars in `_meta`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runner.errors import Origin
from runner.inventory.tree import Tree
from runner.playbook.document import Map
from runner.playbook.fields import kind_of

_SECTIONS = ("hosts", "vars", "children")


def add_listing(
    tree: Tree,
    data: Mapping[str, Any],
    where: Origin,
    ask: Callable[[str], Mapping[str, Any] | None],
) -> None:
    """Add groups and hosts.

    Args:
        where: the file that has them, or the program.
        ask: gives the variables of a host where there is no `_meta`; None: it failed, as noted.
    """
    listing = _Listing(tree, where)
    for name, body in data.items():
        if name != "_meta":
            listing.group(name, body)
    known = listing.hostvars(data.get("_meta"))
    for host in listing.hosts:
        found = known.get(host, {}) if known is not None else ask(host)
        if found is None:
            return  # the other hosts would fail alike
        if not isinstance(found, Mapping):
            listing.note(f"hostvars of {host}: expected an object, found {kind_of(found)}")
            continue
        listing.set(tree.hosts[host].set, found)


class _Listing:
    def __init__(self, tree: Tree, where: Origin) -> None:
        self.tree = tree
        self.where = where
        self.hosts: dict[str, None] = {}

    def note(self, message: str) -> None:
        self.tree.note(message, self.where)

    def set(self, setter: Callable[[str, Any, Origin], None], values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            place = values.where(key) if isinstance(values, Map) else None
            setter(str(key), value, place or self.where)

    def hostvars(self, meta: Any) -> Mapping[str, Any] | None:
        """Variables by host; None: there are none in the listing."""
        if meta is None:
            return None
        found = meta.get("hostvars", {}) if isinstance(meta, Mapping) else meta
        if not isinstance(found, Mapping):
            self.note(f"_meta.hostvars: expected an object, found {kind_of(found)}")
            return {}
        return found

    def group(self, name: str, body: Any) -> None:
        group = self.tree.group(name, self.where)
        if isinstance(body, list):
            body = {"hosts": body}
        if not isinstance(body, Mapping):
            self.note(f"group {name}: expected an object or a list, found {kind_of(body)}")
            return
        if body and not any(section in body for section in _SECTIONS):
            # Ansible reads this as a host with the name of the group, and its variables.
            body = {"hosts": [name], "vars": body}
        for host in self.names(name, body, "hosts"):
            self.hosts[host] = None
            self.tree.host(host, self.where, name)
        variables = body.get("vars", {})
        if isinstance(variables, Mapping):
            self.set(group.set, variables)
        else:
            self.note(f"group {name}: vars must be an object, found {kind_of(variables)}")
        for child in self.names(name, body, "children"):
            self.tree.child(name, child, self.where)

    def names(self, name: str, body: Mapping[str, Any], key: str) -> list[str]:
        value = body.get(key, [])
        if not isinstance(value, list):
            self.note(f"group {name}: {key} must be a list of names, found {kind_of(value)}")
            return []
        wrong = [item for item in value if not isinstance(item, str) or not item]
        if wrong:
            self.note(f"group {name}: {key} must be a list of names, found in it {wrong[0]!r}")
            return []
        return value
