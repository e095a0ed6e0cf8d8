"""Filters on mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runner.playbook.filters.lists import flatten

_LIST_MERGES: dict[str, Callable[[list[Any], list[Any]], list[Any]]] = {
    "replace": lambda old, new: new,
    "keep": lambda old, new: old,
    "append": lambda old, new: [*old, *new],
    "prepend": lambda old, new: [*new, *old],
    "append_rp": lambda old, new: [*(v for v in old if v not in new), *new],
    "prepend_rp": lambda old, new: [*new, *(v for v in old if v not in new)],
}


def combine(*values: Any, recursive: bool = False, list_merge: str = "replace") -> dict[str, Any]:
    """Mappings (or lists of them) merged, later ones win.

    Args:
        recursive: merge mappings inside them too.
        list_merge: what becomes of lists at the same key: replace, keep, append, prepend, and
            append_rp and prepend_rp, which take out of the older list what the newer one has.
    """
    if list_merge not in _LIST_MERGES:
        raise ValueError(f"combine: list_merge {list_merge!r} is none of {', '.join(_LIST_MERGES)}")
    result: dict[str, Any] = {}
    for value in flatten(list(values), levels=1):
        if not isinstance(value, Mapping):
            raise ValueError(f"combine: {value!r} is not a mapping")
        result = _merged(result, value, recursive, list_merge) if result else dict(value)
    return result


def _merged(
    old: Mapping[str, Any], new: Mapping[str, Any], recursive: bool, list_merge: str
) -> dict[str, Any]:
    result = dict(old)
    for key, item in new.items():
        before = result.get(key)
        if recursive and isinstance(item, Mapping) and isinstance(before, Mapping):
            result[key] = _merged(before, item, recursive, list_merge)
        elif isinstance(item, list) and isinstance(before, list):
            result[key] = _LIST_MERGES[list_merge](before, item)
        else:
            result[key] = item
    return result


def dict2items(value: Any, key_name: str = "key", value_name: str = "value") -> list[Any]:
    """A mapping as a list of {key: ..., value: ...}."""
    if not isinstance(value, Mapping):
        raise ValueError(f"dict2items: {value!r} is not a mapping")
    return [{key_name: key, value_name: item} for key, item in value.items()]


def items2dict(values: Any, key_name: Any = "key", value_name: Any = "value") -> dict[Any, Any]:
    """The reverse of `dict2items`."""
    if not isinstance(values, list | tuple):
        raise ValueError(f"items2dict: {values!r} is not a list")
    result = {}
    for item in values:
        try:
            result[item[key_name]] = item[value_name]
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                f"items2dict: {item!r} has not both {key_name!r} and {value_name!r}"
            ) from None
    return result


def rekey_on_member(values: Any, key: str, duplicates: str = "error") -> dict[Any, Any]:
    """A mapping of the mappings in a list (or mapping), by what each has at `key`."""
    if duplicates not in ("error", "overwrite"):
        raise ValueError(f"rekey_on_member: duplicates {duplicates!r} is no error or overwrite")
    rows = values.values() if isinstance(values, Mapping) else values
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise ValueError(f"rekey_on_member: {values!r} is no list or mapping")
    result: dict[Any, Any] = {}
    for row in rows:
        if not isinstance(row, Mapping) or key not in row:
            raise ValueError(f"rekey_on_member: there is no key {key!r} in {row!r}")
        if row[key] in result and duplicates == "error":
            raise ValueError(f"rekey_on_member: two have {row[key]!r} at {key!r}")
        result[row[key]] = row
    return result


FILTERS: dict[str, Callable[..., Any]] = {
    "combine": combine,
    "dict2items": dict2items,
    "items2dict": items2dict,
    "rekey_on_member": rekey_on_member,
}
