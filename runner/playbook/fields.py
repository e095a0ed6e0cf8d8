"""Typed reading of a mapping's keys; every mistake is noted, none stops the reading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, TypeVar

from runner.errors import Origin, Problem
from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.keywords import nearest, similar
from runner.playbook.source import BooleanWord
from runner.secrets.value import Secret, Unread

E = TypeVar("E", bound=IntEnum)

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def kind_of(value: Any) -> str:
    """What a person would call the value."""
    if value is None:
        return "nothing"
    if isinstance(value, Secret | Unread):
        return "a secret"
    if isinstance(value, BooleanWord):
        return f"the boolean `{value}`"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the text "{value}"' if len(value) <= 40 else "a text"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def settled(value: Any) -> Any:
    """Plain data where it is not known what is wanted: yes and no become booleans."""
    if isinstance(value, BooleanWord):
        return value.boolean
    if isinstance(value, Map):
        for key, item in value.items():
            value[key] = settled(item)
    elif isinstance(value, Seq):
        value[:] = [settled(item) for item in value]
    return value


class Fields:
    """One mapping of a user's file being read."""

    def __init__(self, values: Map, what: str, problems: list[Problem]) -> None:
        self.values = values
        self.what = what
        self.problems = problems

    def note(self, message: str, origin: Origin | None, hint: str = "") -> None:
        self.problems.append(Problem(message, origin, hint))

    def expected(self, key: str, wanted: str, hint: str = "") -> None:
        got = kind_of(self.values[key])
        self.note(f"{key}: expected {wanted}, found {got}", self.values.where(key), hint)

    def unknown_keys(self, known: Iterable[str], refused: Mapping[str, str]) -> None:
        """Note each key that is not known, with the cure where it is one of Ansible's."""
        what = f"an {self.what}" if self.what[:1] in "aeiou" else f"a {self.what}"
        for key in self.values:
            if key in known:
                continue
            where = self.values.keys_at.get(key) or self.values.where(key)
            if key in refused:
                self.note(f"{key} of Ansible is not offered in {what}", where, refused[key])
            else:
                self.note(f"{key} is not a key of {what}", where, nearest(key, known))

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is None:
            if key in self.values:
                self.expected(key, "text", "Write a value or remove the key.")
            return default
        if isinstance(value, str) and not isinstance(value, BooleanWord):
            return value
        hint = f'Quote it: "{value}".' if not isinstance(value, Map | Seq | Unread) else ""
        self.expected(key, "text", hint)
        return default

    def plain_text(self, key: str, default: str = "") -> str:
        """Text that must not hold a template."""
        value = self.text(key, default)
        if isinstance(value, TemplateText):
            self.note(f"{key}: a template is not possible here", self.values.where(key))
            return default
        return value

    def flag(self, key: str) -> bool | None:
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, BooleanWord):
            return value.boolean
        self.expected(key, "true or false", "Write it without quotes: true or false.")
        return None

    def count(self, key: str, default: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self.expected(key, "a whole number, 0 or more")
        return default

    def seconds(self, key: str) -> float | None:
        """A time in seconds; also "90s", "10m", "1h"."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value) if isinstance(value, str) else None
        if match and float(match[1]) > 0:
            return float(match[1]) * _UNITS[match[2] or "s"]
        self.expected(key, "a time in seconds", 'Write 90, "90s", "10m" or "1h".')
        return None

    def level(self, key: str, levels: type[E]) -> E | None:
        """A member of an enumeration by its name in small letters."""
        if self.values.get(key) is None:
            return None
        known = [member.name.lower() for member in levels]
        value = self.values[key]
        if isinstance(value, str) and value in known:
            return levels[value.upper()]
        self.expected(key, f"one of {', '.join(known)}", similar(str(value), known))
        return None

    def texts(self, key: str, *, commas: bool = False) -> tuple[str, ...]:
        """A text or a list of texts."""
        value = self.values.get(key)
        if value is None:
            return ()
        items = value if isinstance(value, Seq) else [value]
        if not all(isinstance(item, str) and not isinstance(item, BooleanWord) for item in items):
            self.expected(key, "a text or a list of texts")
            return ()
        if commas:
            items = [part.strip() for item in items for part in item.split(",") if part.strip()]
        return tuple(items)

    def names(self, key: str, *, commas: bool = False) -> tuple[str, ...]:
        """A text or a list of texts, none of them a template."""
        found = self.texts(key, commas=commas)
        for name in found:
            if isinstance(name, TemplateText):
                hint = "The playbook is read before any host is known: write each name."
                self.note(f"{key}: a template is not possible here", name.origin, hint)
        return tuple(name for name in found if not isinstance(name, TemplateText))

    def flag_or_template(self, key: str) -> Any:
        """A boolean (default false) or a template that gives one."""
        value = self.values.get(key)
        return value if isinstance(value, TemplateText) else self.flag(key) or False

    def conditions(self, key: str) -> tuple[str, ...]:
        """An expression, a list of expressions, or true and false."""
        value = self.values.get(key)
        if value is None:
            return ()
        items = value if isinstance(value, Seq) else [value]
        found: list[str] = []
        for item in items:
            if isinstance(item, bool):
                found.append("true" if item else "false")
            elif isinstance(item, str) and not isinstance(item, BooleanWord):
                found.append(item)
            else:
                self.expected(key, "an expression or a list of expressions")
        return tuple(found)

    def mapping(self, key: str) -> Map:
        value = self.values.get(key)
        if value is None:
            return Map()
        if isinstance(value, Map):
            made: Map = settled(value)
            return made
        self.expected(key, "a mapping (name: value)")
        return Map()

    def only_sudo(self) -> None:
        """`become_method` as far as it is offered."""
        method = self.text("become_method", "sudo")
        if method != "sudo":
            where = self.values.where("become_method")
            self.note(f"become_method: only sudo is offered, not {method}", where)
