"""What differs between two TOML documents, in one line for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.modules.files.toml_edit import same
from runner.modules.files.toml_style import inline, key_text
from runner.secrets.redact import KNOWN

_MOST = 3


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The keys that were added, removed or changed, the first few by name; "" when none."""
    found = list(_walk(before, after, ()))
    shown = ", ".join(found[:_MOST])
    return f"{shown} and {len(found) - _MOST} more" if len(found) > _MOST else shown


def _walk(
    before: Mapping[str, Any], after: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[str]:
    for key in [*before, *(key for key in after if key not in before)]:
        path = (*above, key)
        name = ".".join(key_text(part) for part in path)
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _walk(old, new, path)
        elif old is None and isinstance(new, Mapping) and _only_tables(new):
            yield from _walk({}, new, path)
        elif old is None:
            yield f"+ {name}" if isinstance(new, Mapping) else f"+ {name} = {_short(new)}"
        elif new is None:
            yield f"- {name}"
        elif not same(old, new):
            yield f"{name} {_short(old)} -> {_short(new)}"


def _only_tables(table: Mapping[str, Any]) -> bool:
    """A table that says nothing itself: the tables in it are what was added."""
    return bool(table) and all(isinstance(value, Mapping) for value in table.values())


def _short(value: Any) -> str:
    text = KNOWN(inline(value))
    return text if len(text) <= 60 else text[:57] + "..."
