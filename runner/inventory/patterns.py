"""Ansible's host patterns: a:b, a:&b, a:!b, globs, ~regex, group[0], group[1:3], @file."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.errors import InputError, Problem

_SUBSCRIPT = re.compile(r"^(.+)\[(?:(-?\d+)|(\d+)[:-](\d*))\]$")


def split(pattern: str) -> list[str]:
    """The parts of a pattern, at commas or else colons outside brackets."""
    if "," in pattern:
        return [part for piece in pattern.split(",") for part in split(piece.strip())]
    if pattern.startswith("~") or pattern.count("::") or not pattern:
        return [pattern] if pattern else []
    parts, depth = [""], 0
    for character in pattern:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def matching(
    pattern: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], what: str = "pattern"
) -> list[str]:
    """Names of the hosts a pattern chooses, in inventory order.

    Args:
        what: what the pattern is called in messages.

    Raises:
        InputError: a part matches no host and no group, or nothing is left.
    """
    parts = _parts(pattern, hosts, what)
    plain = [part for part in parts if part[0] not in "&!"]
    chosen: set[str] = set()
    for part in plain or ["all"]:
        chosen |= _one(part, hosts, groups, what)
    for part in parts:
        if part[0] == "&":
            chosen &= _one(part[1:], hosts, groups, what)
    for part in parts:
        if part[0] == "!":
            chosen -= _one(part[1:], hosts, groups, what)
    if not chosen:
        raise InputError(
            [Problem(f"{what} {pattern!r} leaves no host", None, exists(hosts, groups))]
        )
    return [host for host in hosts if host in chosen]


def _parts(pattern: str, hosts: Sequence[str], what: str) -> list[str]:
    pattern = pattern.strip()
    if pattern in hosts:
        return [pattern]
    parts: list[str] = []
    for part in split(pattern):
        parts += _from_file(part[1:], what) if part.startswith("@") else [part]
    if not parts:
        raise InputError([Problem(f"the {what} is empty", None, "Write all, or a group's name.")])
    return parts


def _from_file(name: str, what: str) -> list[str]:
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(f"{what} @{name} cannot be read: {error}")]) from None
    found = [line.split("#")[0].strip() for line in lines]
    return [part for line in found if line for part in split(line)]


def _one(
    part: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], what: str
) -> set[str]:
    """The hosts of one part: a name, glob or regular expression, perhaps with a subscript."""
    subscript = None if part.startswith("~") or part in hosts else _SUBSCRIPT.match(part)
    name = subscript[1] if subscript else part
    found = _named(name, hosts, groups, what)
    if subscript is None:
        return set(found)
    if subscript[2] is not None:
        index = int(subscript[2])
        picked = found[index : index + 1 or None]
    else:
        end = int(subscript[4]) + 1 if subscript[4] else None
        picked = found[int(subscript[3]) : end]
    if not picked:
        message = f"{what} {part!r}: {name} has only {len(found)} hosts"
        raise InputError([Problem(message, None, "Count begins at 0; the end is included.")])
    return set(picked)


def _named(
    name: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], what: str
) -> list[str]:
    if name in ("all", "*"):
        return list(hosts)
    expression = _expression(name, what)
    # A glob like a* means names of the user's: in Ansible it takes the group "all", so every host.
    built_in = {"all", "ungrouped"} - {name}
    matched = [group for group in groups if group not in built_in and expression.match(group)]
    chosen = {host for group in matched for host in groups[group]}
    if not matched or name.startswith("~") or any(mark in name for mark in ".?*["):
        by_name = {host for host in hosts if expression.match(host)}
        if not matched and not by_name:
            raise InputError([_nothing(name, hosts, groups, what)])
        chosen |= by_name
    return [host for host in hosts if host in chosen]


def _expression(name: str, what: str) -> re.Pattern[str]:
    if not name.startswith("~"):
        return re.compile(fnmatch.translate(name))
    try:
        return re.compile(name[1:])
    except re.error as error:
        message = f"{what} {name!r} is no regular expression: {error}"
        raise InputError([Problem(message, None, "Quote it from the shell.")]) from None


def _nothing(
    name: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], what: str
) -> Problem:
    near = difflib.get_close_matches(name, [*groups, *hosts], 1)
    hint = exists(hosts, groups)
    if near:
        hint = f"Did you mean {near[0]}? {hint}"
    return Problem(f"{what} {name!r} matches no host and no group", None, hint)


def exists(hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    """A sentence that lists what an inventory has."""
    named = [name for name in groups if name not in ("all", "ungrouped")]
    return f"Groups: {_some(named)}. Hosts: {_some(list(hosts))}."


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = f", ... ({len(names)} in all)" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more
