"""Parsed documents (TOML, JSON, YAML) as plain data: looking, comparing, merging.

A path is a tuple of keys; it leads through mappings only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.modules.base import Refused

Keys = tuple[str, ...]

DEEPEST = 100
"""Levels of a document that are followed."""
MOST_VALUES = 1_000_000
"""Values of a document that are followed: aliases of YAML make many of few."""


class _Missing:
    """What is at a path where nothing is."""


MISSING = _Missing()


def find(data: Mapping[str, Any], keys: Sequence[str], default: Any = None) -> Any:
    """The value at a path, or `default` when there is none."""
    value: Any = data
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def merge(data: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    """`wanted` into `data`: tables by key, all else replaced."""
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            table = data.get(name)
            if not isinstance(table, dict):
                table = data[name] = {}
            merge(table, value)
        else:
            data[name] = value


def same(one: Any, other: Any) -> bool:
    """Equal in the formats' sense: 1, 1.0 and true differ, and nan is nan."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        return False
    return bool(one == other or (one != one and other != other))


def check_kinds(
    data: Mapping[str, Any], wanted: Mapping[str, Any], name: str, above: Keys = ()
) -> None:
    """Raises `Refused` where a table would replace a value, or a value a table."""
    for key, value in wanted.items():
        there = data.get(key)
        where = ".".join((*above, key))
        if there is None:
            continue
        if isinstance(value, Mapping) != isinstance(there, Mapping):
            kinds = ("a table", "a value") if isinstance(value, Mapping) else ("a value", "a table")
            raise Refused(f"{name}: {where} is {kinds[1]}, {kinds[0]} is wanted; remove it first")
        if isinstance(value, Mapping):
            check_kinds(there, value, name, (*above, key))


def remove(data: dict[str, Any], keys: Keys) -> None:
    """Take a path out; one that is not there is fine."""
    table = find(data, keys[:-1])
    if isinstance(table, dict):
        table.pop(keys[-1], None)


def missing_items(
    data: Mapping[str, Any], keys: Keys, values: Sequence[Any], name: str
) -> list[Any]:
    """Which of the values the array at a path does not hold yet. Raises `Refused` for no array."""
    there = find(data, keys)
    if there is not None and not isinstance(there, list):
        raise Refused(f"{name}: {'.'.join(keys)} is not an array; nothing can be appended to it")
    missing: list[Any] = []
    for value in values:
        if not any(same(value, item) for item in [*(there or []), *missing]):
            missing.append(value)
    return missing


def append(data: dict[str, Any], keys: Keys, value: Any) -> None:
    """One more item at the end of the array at a path, which is made where it is missing."""
    for key in keys[:-1]:
        data = data.setdefault(key, {})
    if data.get(keys[-1]) is None:
        data[keys[-1]] = []
    data[keys[-1]].append(value)


def take(data: dict[str, Any], keys: Keys, value: Any) -> None:
    """Every item of that value out of the array at a path; an array that is not there is fine."""
    array = find(data, keys)
    if isinstance(array, list):
        array[:] = [item for item in array if not same(item, value)]


def check_size(data: Any, name: str) -> None:
    """Raises `Refused` for a document that is too deep or too large to be followed."""
    level, number = [data], 0
    for _ in range(DEEPEST):
        level = [item for value in level for item in _below(value)]
        number += len(level)
        if number > MOST_VALUES:
            raise Refused(f"{name} holds more than {MOST_VALUES} values; it is not edited")
        if not level:
            return
    raise Refused(f"{name} is nested too deeply to be edited")


def _below(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()
