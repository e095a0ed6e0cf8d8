"""Which secrets some values need: those in them, and in the variables their templates name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner.playbook.templates import names
from runner.secrets.value import Unread


def unread_in(value: Any) -> Iterator[Unread]:
    """The secrets that stand in a value, at any depth."""
    if isinstance(value, Unread):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from unread_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from unread_in(item)


def needed(wanted: Iterable[str], variables: Mapping[str, Any]) -> list[Unread]:
    """The secrets behind names of variables, followed through the templates in their values."""
    found: dict[int, Unread] = {}
    seen: set[str] = set()
    queue = list(wanted)
    while queue:
        name = queue.pop().partition(".")[0]
        if name in seen or name not in variables:
            continue
        seen.add(name)
        found |= {id(secret): secret for secret in unread_in(variables[name])}
        queue += names(variables[name])
    return list(found.values())
