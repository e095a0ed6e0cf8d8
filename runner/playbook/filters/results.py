"""Tests on registered results: `result is changed`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _result(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"is {name}: needs a registered result, not {value!r}")
    return value


def changed(value: Any) -> bool:
    """Whether the task changed something; of a loop, whether one of its items did."""
    result = _result("changed", value)
    if "changed" in result:
        return bool(result["changed"])
    items = result.get("results")
    items = items if isinstance(items, list) else []
    return any(bool(item.get("changed")) for item in items if isinstance(item, Mapping))


def _flag(key: str) -> Callable[[Any], bool]:
    return lambda value: bool(_result(key, value).get(key, False))


def _not(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: not test(value)


TESTS: dict[str, Callable[..., bool]] = {
    "change": changed,
    "changed": changed,
    "failed": _flag("failed"),
    "failure": _flag("failed"),
    "reachable": _not(_flag("unreachable")),
    "skip": _flag("skipped"),
    "skipped": _flag("skipped"),
    "succeeded": _not(_flag("failed")),
    "success": _not(_flag("failed")),
    "successful": _not(_flag("failed")),
    "unreachable": _flag("unreachable"),
}
