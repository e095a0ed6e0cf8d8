"""The test `version`: Ansible's kinds of versions.

loose: runs of digits and letters, compared part by part (Python's old distutils.version);
strict: its strict form, N.N[.N][aN|bN]; semver: semver.org 2.0.0; pep440: Python packages.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

_NAMES = {
    "==": "eq",
    "=": "eq",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "!=": "ne",
    "<>": "ne",
}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "lt", "le", "gt", "ge", "ne")
}
_PART = re.compile(r"(\d+|[a-z]+|\.)")
_STRICT = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:([ab])(\d+))?", re.ASCII)
_WORD = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = re.compile(
    rf"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-({_WORD}(?:\.{_WORD})*))?"
    r"(?:\+[0-9a-zA-Z.-]+)?",
    re.ASCII,
)


def _loose(text: str) -> Any:
    parts = [part for part in _PART.split(text) if part and part != "."]
    return [int(part) if part.isdecimal() else part for part in parts]


def _strict(text: str) -> Any:
    found = _STRICT.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no strict version (N.N, N.N.N, N.NaN or N.NbN)")
    pre = (found[4], int(found[5])) if found[4] else ("z", 0)
    return (int(found[1]), int(found[2]), int(found[3] or 0)), pre


def _semver(text: str) -> Any:
    found = _SEMVER.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no semantic version (N.N.N, N.N.N-pre)")
    words = found[4].split(".") if found[4] else []
    pre = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in words)
    return tuple(int(found[n]) for n in (1, 2, 3)), not words, pre


def _pep440(text: str) -> Any:
    from packaging.version import Version

    return Version(text)


_KINDS: dict[str, Callable[[str], Any]] = {
    "loose": _loose,
    "strict": _strict,
    "semver": _semver,
    "semantic": _semver,
    "pep440": _pep440,
}


def version(
    value: Any,
    version: Any,
    operator: str = "eq",
    strict: bool | None = None,
    version_type: str | None = None,
) -> bool:
    """Compares versions part by part: 535.104.05 < 550.54.

    Raises:
        ValueError: an empty version, an unknown operator or kind, or versions that cannot be
            compared (a number against a word, as 1.0 with 1.rc).
    """
    if strict is not None and version_type is not None:
        raise ValueError("version: give strict or version_type, not both")
    kind = "strict" if strict else version_type or "loose"
    if kind not in _KINDS:
        raise ValueError(f"version: version_type {kind!r} is none of {', '.join(_KINDS)}")
    compare = _OPERATORS.get(_NAMES.get(operator, operator))
    if compare is None:
        known = ", ".join((*_NAMES, *_OPERATORS))
        raise ValueError(f"version: operator {operator!r} is none of {known}")
    if not value or not version:
        raise ValueError("version: nothing to compare, the version is empty")
    try:
        return compare(_KINDS[kind](str(value)), _KINDS[kind](str(version)))
    except TypeError:
        raise ValueError(
            f"version: {value!s} and {version!s} cannot be compared: a number stands against a word"
        ) from None
    except ValueError as error:
        raise ValueError(f"version: {error}") from None


TESTS: dict[str, Callable[..., bool]] = {"version": version, "version_compare": version}
