"""What differs between two documents of keys and values, in one line for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runner.modules.files.data import MISSING, same
from runner.modules.files.toml_style import inline, key_text
from runner.secrets.redact import KNOWN

_MOST = 3


Shown = Callable[[Any], str]
"""A value on one line."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any], shown: Shown = inline) -> str:
    """The keys that were added, removed or changed, the first few by name; "" when none."""
    found = list(_walk(before, after, (), lambda value: _short(shown(value))))
    text = ", ".join(found[:_MOST])
    return f"{text} and {len(found) - _MOST} more" if len(found) > _MOST else text


def _walk(
    before: Mapping[str, Any], after: Mapping[str, Any], above: tuple[str, ...], shown: Shown
) -> Iterator[str]:
    for key in [*before, *(key for key in after if key not in before)]:
        path = (*above, str(key))
        name = ".".join(key_text(part) for part in path)
        old, new = before.get(key, MISSING), after.get(key, MISSING)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _walk(old, new, path, shown)
        elif old is MISSING and isinstance(new, Mapping) and _only_tables(new):
            yield from _walk({}, new, path, shown)
        elif old is MISSING:
            yield f"+ {name}" if isinstance(new, Mapping) else f"+ {name} = {shown(new)}"
        elif new is MISSING:
            yield f"- {name}"
        elif not same(old, new):
            yield f"{name} {shown(old)} -> {shown(new)}"


def _only_tables(table: Mapping[str, Any]) -> bool:
    """A table that says nothing itself: the tables in it are what was added."""
    return bool(table) and all(isinstance(value, Mapping) for value in table.values())


def _short(text: str) -> str:
    text = KNOWN(text)
    return text if len(text) <= 60 else text[:57] + "..."
