"""Ansible's host patterns (a:b, a:&b, a:!b, globs, ~regex, group[0], @file) and label=value."""

from __future__ import annotations

import difflib
import fnmatch
import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.errors import InputError, Problem

_SUBSCRIPT = re.compile(r"^(.+)\[(?:(-?\d+)|(\d+)[:-](\d*))\]$")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Names:
    """What patterns choose from.

    Args:
        hosts: in inventory order.
        groups: group -> its hosts, children's included.
        variables: host -> its variables, for label=value.
        what: what the pattern is called in messages.
    """

    hosts: Collection[str]
    groups: Mapping[str, Sequence[str]]
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    what: str = "pattern"

    def problem(self, message: str, hint: str = "") -> InputError:
        return InputError([Problem(message, None, hint or exists(self.hosts, self.groups))])


def split(pattern: str) -> list[str]:
    """The parts of a pattern, at commas, colons and blanks outside of brackets."""
    parts, depth = [""], 0
    for piece in re.split(r"([,\s])", pattern):
        if depth == 0 and (not piece or piece in ", \t\n"):
            parts.append("")
        elif depth == 0 and _is_ipv6(piece.lstrip("&!")):
            parts[-1] += piece
        else:
            for character in piece:
                depth = max(0, depth + (character in _OPEN) - (character in _CLOSE))
                if character == ":" and depth == 0:
                    parts.append("")
                else:
                    parts[-1] += character
    return [part for part in parts if part]


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def matching(pattern: str, names: Names) -> list[str]:
    """The hosts a pattern chooses, in the order of its parts, each in inventory order (as Ansible).

    Raises:
        InputError: a part matches no host and no group, or nothing is left.
    """
    parts = _parts(pattern, names)
    plain = [part for part in parts if part[0] not in "&!"]
    chosen: dict[str, None] = {}
    for part in plain or ["all"]:
        # A host of that name comes before a group of that name, but only here (as Ansible).
        chosen |= dict.fromkeys([part] if part in names.hosts else _one(part, names))
    for part in parts:
        if part[0] == "&":
            kept = set(_one(part[1:], names))
            chosen = {host: None for host in chosen if host in kept}
    for part in parts:
        if part[0] == "!":
            gone = set(_one(part[1:], names))
            chosen = {host: None for host in chosen if host not in gone}
    if not chosen:
        raise names.problem(f"{names.what} {pattern!r} leaves no host")
    return list(chosen)


def _parts(pattern: str, names: Names) -> list[str]:
    pattern = pattern.strip()
    if pattern in names.hosts:
        return [pattern]
    parts: list[str] = []
    for part in split(pattern):
        parts += _from_file(part[1:], names) if part.startswith("@") else [part]
    if not parts:
        raise names.problem(f"the {names.what} is empty", "Write all, or a group's name.")
    bare = [part for part in parts if part in ("&", "!")]
    if bare:
        raise names.problem(f"{names.what} {pattern!r}: {bare[0]} stands without a name")
    return parts


def _from_file(name: str, names: Names) -> list[str]:
    try:
        lines = Path(name).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise names.problem(
            f"{names.what} @{name} cannot be read: {why}", "Check its path."
        ) from None
    found = [line.split("#")[0].strip() for line in lines]
    return [part for line in found if line for part in split(line)]


def _one(part: str, names: Names) -> list[str]:
    """The hosts of one part: a name, glob, regular expression or label, perhaps a subscript."""
    subscript = None if part.startswith("~") or part in names.hosts else _SUBSCRIPT.match(part)
    name = subscript[1] if subscript else part
    found = _named(name, names)
    if subscript is None:
        return found
    if subscript[2] is not None:
        index = int(subscript[2])
        picked = found[index : index + 1 or None]
    else:
        end = int(subscript[4]) + 1 if subscript[4] else None
        picked = found[int(subscript[3]) : end]
    if not picked:
        message = f"{names.what} {part!r}: {name} has only {len(found)} hosts"
        raise names.problem(message, "Count begins at 0; the end is included.")
    return picked


def _named(name: str, names: Names) -> list[str]:
    if name in ("all", "*"):
        return list(names.hosts)
    if not name.startswith("~") and not any(mark in name for mark in "?*["):
        return _plainly_named(name, names)
    expression = _expression(name, names)
    # A glob like a* means names of the user's: in Ansible it takes the group "all", so every host.
    built_in = {"all", "ungrouped"} - {name}
    matched = [group for group in names.groups if group not in built_in and expression.match(group)]
    chosen = [host for group in matched for host in names.groups[group]]
    by_name = [host for host in names.hosts if expression.match(host)]
    if not matched and not by_name:
        return _labelled(name, names)
    return list(dict.fromkeys([*chosen, *by_name]))


def _plainly_named(name: str, names: Names) -> list[str]:
    """The hosts of a group; with no such group, or a dot in it (as Ansible), also the host."""
    chosen = dict.fromkeys(names.groups.get(name, ()))
    if name in names.hosts and ("." in name or name not in names.groups):
        chosen[name] = None
    if not chosen and name not in names.groups:
        return _labelled(name, names)
    return list(chosen)


def _expression(name: str, names: Names) -> re.Pattern[str]:
    if not name.startswith("~"):
        return re.compile(fnmatch.translate(name))
    try:
        return re.compile(name[1:])
    except (re.error, RecursionError, OverflowError) as error:
        message = f"{names.what} {name!r} is no regular expression: {error}"
        raise names.problem(message, "Quote it from the shell.") from None


def _labelled(name: str, names: Names) -> list[str]:
    """The hosts of label=value: a Kubernetes label in the inventory, or a variable."""
    label, equals, wanted = name.partition("=")
    if not equals or name.startswith("~"):
        raise InputError([_nothing(name, names)])
    values = {host: _value(label, names.variables.get(host, {})) for host in names.hosts}
    found = [
        host
        for host, value in values.items()
        if value is not None and (value == wanted or fnmatch.fnmatchcase(value, wanted))
    ]
    if found:
        return found
    known = sorted({value for value in values.values() if value is not None})
    if known:
        hint = f"Values of {label}: {_some(known)}."
        raise names.problem(f"{names.what} {name!r} matches no host", hint)
    hint = (
        "Labels come from the inventory (variable kubernetes_labels, which plugin: kubernetes sets)"
    )
    message = f"{names.what} {name!r}: no host has a label or variable {label}"
    raise names.problem(message, f"{hint}, variables from anywhere in it.")


def _value(label: str, variables: Mapping[str, Any]) -> str | None:
    """A label or variable as text; None: there is none, or it is a list or mapping."""
    labels = variables.get("kubernetes_labels")
    value = labels.get(label) if isinstance(labels, Mapping) else None
    if value is None:
        value = variables.get(label)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _nothing(name: str, names: Names) -> Problem:
    near = difflib.get_close_matches(name, [*names.groups, *names.hosts], 1)
    hint = exists(names.hosts, names.groups)
    if near:
        hint = f"Did you mean {near[0]}? {hint}"
    return Problem(f"{names.what} {name!r} matches no host and no group", None, hint)


def exists(hosts: Collection[str], groups: Mapping[str, Sequence[str]]) -> str:
    """A sentence that lists what an inventory has."""
    named = [name for name in groups if name not in ("all", "ungrouped")]
    return f"Groups: {_some(named)}. Hosts: {_some(list(hosts))}."


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f", ... ({len(names)} in all)" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more
