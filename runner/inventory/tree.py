"""An inventory while it is read: groups, hosts, and every variable with where it was set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runner.errors import Origin, Problem


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable as one place sets it. `by` is the group or host it is set for."""

    name: str
    value: Any
    origin: Origin
    by: str


@dataclass(slots=True)
class Entry:
    """A group or a host. Settings stand in the order they were read; later ones win."""

    name: str
    origin: Origin
    settings: dict[str, list[Setting]] = field(default_factory=dict)
    """From the inventory itself."""
    file_settings: dict[str, list[Setting]] = field(default_factory=dict)
    """From group_vars or host_vars."""

    def set(self, name: str, value: Any, origin: Origin, *, from_file: bool = False) -> None:
        kept = self.file_settings if from_file else self.settings
        kept.setdefault(name, []).append(Setting(name, value, origin, self.name))


@dataclass(slots=True)
class Group(Entry):
    """A group; `hosts` are its own, not those of its children."""

    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)

    @property
    def priority(self) -> int:
        found = self.settings.get("ansible_group_priority")
        value = found[-1].value if found else 1
        return int(value) if str(value).lstrip("-").isdigit() else 1


@dataclass(slots=True)
class Tree:
    """All sources merged. `finish` makes it whole; before that groups may hang in the air."""

    sources: list[str] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    depths: dict[str, int] = field(default_factory=dict)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Group -> its hosts and its children's, in the order hosts were first named."""
    groups_of: dict[str, list[str]] = field(default_factory=dict)
    """Host -> its groups, in the order their variables apply."""

    def note(self, message: str, origin: Origin | None, hint: str = "") -> None:
        self.problems.append(Problem(message, origin, hint))

    def group(self, name: str, origin: Origin) -> Group:
        """The group of that name, made when new."""
        return self.groups.setdefault(name, Group(name, origin))

    def host(self, name: str, origin: Origin, group: str) -> Entry:
        """The host of that name as a member of the group, made when new."""
        entry = self.hosts.setdefault(name, Entry(name, origin))
        members = self.group(group, origin).hosts
        if name not in self._seen(group):
            members.append(name)
            self._seen(group).add(name)
        return entry

    _members: dict[str, set[str]] = field(default_factory=dict)

    def _seen(self, group: str) -> set[str]:
        return self._members.setdefault(group, set())

    def child(self, parent: str, name: str, origin: Origin) -> Group:
        """The group `name` as a child of `parent`."""
        group = self.group(name, origin)
        children = self.group(parent, origin).children
        if name not in children:
            children.append(name)
        return group

    def finish(self) -> None:
        """Hang loose groups under `all`, find circles, depths and members."""
        nowhere = Origin("")
        everything = self.group("all", nowhere)
        ungrouped = self.group("ungrouped", nowhere)
        if self._circles():
            return
        named = {child for group in self.groups.values() for child in group.children}
        for name in self.groups:
            if name != "all" and (name not in named or name == "ungrouped"):
                self.child("all", name, nowhere)
        grouped = {
            host
            for group in self.groups.values()
            if group.name not in ("all", "ungrouped")
            for host in group.hosts
        }
        ungrouped.hosts = [host for host in self.hosts if host not in grouped]
        everything.hosts = []
        self._measure("all", 0)
        self._gather()

    def _circles(self) -> bool:
        """Note each circle of groups."""
        done: set[str] = set()
        found = False
        for name in self.groups:
            circle = self._circle_from(name, [], done)
            if circle:
                found = True
                self.note(
                    f"groups contain each other: {' -> '.join(circle)}",
                    self.groups[circle[0]].origin,
                    "Remove one of the children.",
                )
        return found

    def _circle_from(self, name: str, path: list[str], done: set[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        done.add(name)
        for child in self.groups[name].children:
            circle = self._circle_from(child, [*path, name], done)
            if circle:
                return circle
        return []

    def _measure(self, name: str, depth: int) -> None:
        """The longest way from `all`: deeper groups win."""
        if self.depths.get(name, -1) >= depth:
            return
        self.depths[name] = depth
        for child in self.groups[name].children:
            self._measure(child, depth + 1)

    def _gather(self) -> None:
        order = {name: index for index, name in enumerate(self.hosts)}
        below: dict[str, set[str]] = {}

        def hosts_of(name: str) -> set[str]:
            if name not in below:
                group = self.groups[name]
                below[name] = set(group.hosts).union(*map(hosts_of, group.children))
            return below[name]

        ranked = sorted(
            self.groups.values(), key=lambda g: (self.depths.get(g.name, 0), g.priority, g.name)
        )
        self.groups_of = {name: [] for name in self.hosts}
        for group in ranked:
            members = sorted(hosts_of(group.name), key=order.__getitem__)
            self.members[group.name] = tuple(members)
            for host in members:
                self.groups_of[host].append(group.name)

    def settings_of(self, host: str) -> Iterator[Setting]:
        """Everything set for a host, in rising precedence (Ansible's order).

        `all`, groups by depth, priority and name, each from the inventory; then group_vars in the
        same order; then the host in the inventory; then host_vars.
        """
        groups = [self.groups[name] for name in self.groups_of[host]]
        for group in groups:
            yield from _each(group.settings)
        for group in groups:
            yield from _each(group.file_settings)
        yield from _each(self.hosts[host].settings)
        yield from _each(self.hosts[host].file_settings)


def _each(settings: dict[str, list[Setting]]) -> Iterator[Setting]:
    for several in settings.values():
        yield from several
