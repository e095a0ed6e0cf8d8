"""What differs between two documents of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runner.modules.files.data import MISSING, same
from runner.modules.files.toml_style import inline, key_text
from runner.secrets.redact import KNOWN

_MOST = 3


Shown = Callable[[Any], str]
"""A value on one line."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One key that differs: its whole name, and its values on one line each; "": none to show."""

    name: str
    kind: Literal["added", "removed", "changed"]
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.kind == "changed":
            return f"{self.name} {self.before} -> {self.after}"
        if self.kind == "removed":
            return f"- {self.name}"
        return f"+ {self.name} = {self.after}" if self.after else f"+ {self.name}"


def differences(before: Mapping[str, Any], after: Mapping[str, Any], shown: Shown = inline) -> str:
    """The keys that were added, removed or changed, the first few by name; "" when none."""
    found = [str(change) for change in key_changes(before, after, shown)]
    text = ", ".join(found[:_MOST])
    return f"{text} and {len(found) - _MOST} more" if len(found) > _MOST else text


def key_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], shown: Shown = inline
) -> list[KeyChange]:
    """Every key that was added, removed or changed; of a new table only its name."""
    return list(_walk(before, after, (), lambda value: _short(shown(value))))


def _walk(
    before: Mapping[str, Any], after: Mapping[str, Any], above: tuple[str, ...], shown: Shown
) -> Iterator[KeyChange]:
    for key in [*before, *(key for key in after if key not in before)]:
        path = (*above, str(key))
        name = ".".join(key_text(part) for part in path)
        old, new = before.get(key, MISSING), after.get(key, MISSING)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _walk(old, new, path, shown)
        elif old is MISSING and isinstance(new, Mapping) and _only_tables(new):
            yield from _walk({}, new, path, shown)
        elif old is MISSING:
            yield KeyChange(name, "added", "", "" if isinstance(new, Mapping) else shown(new))
        elif new is MISSING:
            yield KeyChange(name, "removed")
        elif not same(old, new):
            yield KeyChange(name, "changed", shown(old), shown(new))


def _only_tables(table: Mapping[str, Any]) -> bool:
    """A table that says nothing itself: the tables in it are what was added."""
    return bool(table) and all(isinstance(value, Mapping) for value in table.values())


def _short(text: str) -> str:
    text = KNOWN(text)
    return text if len(text) <= 60 else text[:57] + "..."
