"""An inventory while it is read: groups, hosts, and every variable with where it was set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem

PRIORITY = "ansible_group_priority"
NOWHERE = Origin("")
MAX_DEPTH = 100
"""Groups in groups; more are a mistake (of a program), told before it costs time."""


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
    files: dict[Path, dict[str, list[Setting]]] = field(default_factory=dict)
    """From group_vars or host_vars, by the folder these stand in."""

    def set(self, name: str, value: Any, origin: Origin, folder: Path | None = None) -> None:
        """Note what a variable is set to; `folder` where a file of group_vars or host_vars does."""
        kept = self.settings if folder is None else self.files.setdefault(folder, {})
        kept.setdefault(name, []).append(Setting(name, value, origin, self.name))


@dataclass(slots=True)
class Group(Entry):
    """A group; `hosts` and `children` are its own, in the order they were named."""

    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    priority: int = 1


@dataclass(slots=True)
class HostEntry(Entry):
    """A host and the file that named it first; None: a list of hosts did."""

    source: Path | None = None


@dataclass(slots=True)
class Tree:
    """All sources merged. `finish` makes it whole; before that groups may hang in the air."""

    sources: list[str] = field(default_factory=list)
    source: Path | None = None
    """The file that is being read."""
    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, HostEntry] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    """Folders beside the sources that may have group_vars and host_vars; later ones win."""
    playbook_folder: Path | None = None
    """The folder of the playbook, whose group_vars and host_vars win over those of the sources."""
    problems: list[Problem] = field(default_factory=list)
    is_full: bool = False
    """More hosts were named than are taken."""
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Group -> its hosts and its children's: its own first, then those of each level below."""
    groups_of: dict[str, list[str]] = field(default_factory=dict)
    """Host -> its groups, in the order their variables apply."""
    _merged: dict[tuple[str, ...], dict[str, Setting]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("all", "ungrouped"):
            self.group(name, NOWHERE)
        self.groups["all"].children["ungrouped"] = None

    def note(self, message: str, origin: Origin | None, hint: str = "") -> None:
        self.problems.append(Problem(message, origin, hint))

    def group(self, name: str, origin: Origin) -> Group:
        """The group of that name, made when new."""
        found = self.groups.get(name)
        if found is None:
            found = self.groups[name] = Group(name, origin)
        return found

    def host(self, name: str, origin: Origin, group: str) -> HostEntry:
        """The host of that name as a member of the group, made when new."""
        entry = self.hosts.get(name)
        if entry is None:
            entry = self.hosts[name] = HostEntry(name, origin, source=self.source)
        self.group(group, origin).hosts[name] = None
        return entry

    def child(self, parent: str, name: str, origin: Origin) -> None:
        """Make the group `name` a child of `parent`."""
        self.group(name, origin)
        if name == "all":
            self.note(
                f"group {parent}: all holds every group and can be no child",
                origin,
                "Name the groups that are meant.",
            )
            return
        self.group(parent, origin).children[name] = None

    def finish(self) -> None:
        """Hang loose groups under `all`; find circles, members and the order of variables."""
        named = {child for group in self.groups.values() for child in group.children}
        everything = self.groups["all"]
        for name in self.groups:
            if name not in named and name != "all":
                everything.children[name] = None
        from_above = self._from_above()
        if from_above is None:
            return
        depths = self._depths(from_above)
        deepest = max(depths, key=depths.__getitem__)
        if depths[deepest] > MAX_DEPTH:
            self.note(
                f"groups are nested more than {MAX_DEPTH} levels deep",
                self.groups[deepest].origin,
                f"This is the place of the deepest, {deepest}.",
            )
            return
        self._place_ungrouped()
        for group in self.groups.values():
            self._prioritise(group)
        self._gather(depths)
        for name in self.hosts.keys() & self.groups.keys():
            self._check_double_name(name)

    def _from_above(self) -> list[str] | None:
        """The groups, each after all its parents; None and a problem where they form a circle."""
        below = {name: tuple(group.children) for name, group in self.groups.items()}
        try:
            return list(reversed(tuple(TopologicalSorter(below).static_order())))
        except CycleError as error:
            # graphlib lists each group after the one that needs it: children before parents.
            circle = list(reversed(error.args[1]))
            start = min(circle, key=list(self.groups).index)
            cut = circle.index(start)
            circle = [*circle[cut:-1], *circle[: cut + 1]] if cut else circle
            self.note(
                f"groups contain each other: {' -> '.join(circle)}",
                self.groups[start].origin,
                "Remove one of the children.",
            )
            return None

    def _place_ungrouped(self) -> None:
        """Hosts of no other group are in `ungrouped`, those of another are not."""
        grouped: set[str] = set()
        for name, group in self.groups.items():
            if name not in ("all", "ungrouped"):
                grouped |= group.hosts.keys()
        ungrouped = self.groups["ungrouped"]
        kept = [host for host in ungrouped.hosts if host not in grouped]
        loose = [host for host in self.hosts if host not in grouped]
        ungrouped.hosts = dict.fromkeys([*kept, *loose])

    def _prioritise(self, group: Group) -> None:
        """The last `ansible_group_priority` of a group, which is no variable of its hosts."""
        for setting in group.settings.pop(PRIORITY, [])[-1:]:
            try:
                group.priority = int(setting.value)
            except (TypeError, ValueError, OverflowError):
                self.note(
                    f"group {group.name}: {PRIORITY} must be a number, found {setting.value!r}",
                    setting.origin,
                )

    def _depths(self, from_above: Sequence[str]) -> dict[str, int]:
        """How far below `all` each group is, by the longest way."""
        depths = dict.fromkeys(self.groups, 0)
        for name in from_above:
            for child in self.groups[name].children:
                depths[child] = max(depths[child], depths[name] + 1)
        return depths

    def _gather(self, depths: Mapping[str, int]) -> None:
        self.members = {name: tuple(self._hosts_below(name)) for name in self.groups}
        self.hosts = {name: self.hosts[name] for name in self.members["all"]}
        ranked = sorted(
            self.groups.values(), key=lambda group: (depths[group.name], group.priority, group.name)
        )
        self.groups_of = {name: [] for name in self.hosts}
        for group in ranked:
            for host in self.members[group.name]:
                self.groups_of[host].append(group.name)

    def _hosts_below(self, name: str) -> dict[str, None]:
        levels = {name: None}
        hosts: dict[str, None] = {}
        waiting = [name]
        while waiting:
            group = self.groups[waiting.pop(0)]
            hosts |= group.hosts
            fresh = [child for child in group.children if child not in levels]
            levels |= dict.fromkeys(fresh)
            waiting += fresh
        return hosts

    def _check_double_name(self, name: str) -> None:
        """A host named like a group: Ansible gives the host's variables to the whole group."""
        host = self.hosts[name]
        if host.settings and set(self.members[name]) != {name}:
            self.note(
                f"host {name} has the name of a group: its variables would be the whole group's, "
                "as in Ansible",
                host.origin,
                "Rename one of them.",
            )

    def settings_of(self, host: str) -> Iterator[Setting]:
        """Everything set for a host, in rising precedence (Ansible's order).

        `all` and the groups by depth, priority and name, each from the inventory; then group_vars:
        `all` of every source, `all` beside the playbook, the groups of every source, the groups
        beside the playbook; then the host in the inventory; then host_vars of every source and
        beside the playbook.
        """
        yield from self._group_settings(self.groups_of[host])
        yield from self._host_settings(host)

    def _group_settings(self, names: Sequence[str]) -> Iterator[Setting]:
        everything, *groups = (self.groups[name] for name in names)
        for group in (everything, *groups):
            yield from _each(group.settings)
        for entries in ([everything], groups):
            for folder in self._variable_folders():
                for entry in entries:
                    yield from _each(entry.files.get(folder, {}))

    def _host_settings(self, host: str) -> Iterator[Setting]:
        entry = self.hosts[host]
        yield from _each(entry.settings)
        for folder in self._variable_folders():
            yield from _each(entry.files.get(folder, {}))

    def _variable_folders(self) -> list[Path]:
        beside = [self.playbook_folder] if self.playbook_folder else []
        return [*(folder for folder in self.folders if folder not in beside), *beside]

    def settings_of_group(self, name: str) -> Iterator[Setting]:
        """What is set for a group itself, in rising precedence."""
        group = self.groups[name]
        yield from _each(group.settings)
        for folder in self._variable_folders():
            yield from _each(group.files.get(folder, {}))

    def merged(self, host: str) -> dict[str, Setting]:
        """The winning setting of each variable of a host. Hosts of the same groups share work."""
        groups = tuple(self.groups_of[host])
        if groups not in self._merged:
            self._merged[groups] = {item.name: item for item in self._group_settings(groups)}
        return self._merged[groups] | {item.name: item for item in self._host_settings(host)}


def _each(settings: dict[str, list[Setting]]) -> Iterator[Setting]:
    for several in settings.values():
        yield from several
