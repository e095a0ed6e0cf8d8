"""The lookup `sequence`: numbers as texts, described as Ansible does it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from runner.playbook import limits
from runner.playbook.controller import Failed

_NUMBER = r"(0?x?[0-9a-f]+)"
_SHORT = re.compile(rf"(?:{_NUMBER}-)?{_NUMBER}(?:/{_NUMBER})?(?::(.+))?", re.IGNORECASE)
_FIELDS = ("start", "end", "stride", "count", "format")


def sequence(terms: tuple[Any, ...], options: Mapping[str, Any]) -> list[str]:
    """The texts of sequences.

    Args:
        terms: each `[start-]end[/stride][:format]` ("4:host%02d") or "start=1 end=5 format=x%d".
        options: `start`, `end`, `stride`, `count`, `format` for all of them.

    Raises:
        Failed: a sequence that cannot be understood, or has no end.
    """
    found: list[str] = []
    for term in terms or ("",):
        found += _one({**options, **_described(str(term))})
    return found


def _described(term: str) -> dict[str, str]:
    short = _SHORT.fullmatch(term)
    if short:
        values = zip(("start", "end", "stride", "format"), short.groups(), strict=True)
        return {name: value for name, value in values if value is not None}
    found = {}
    for word in shlex.split(term):
        name, equals, value = word.partition("=")
        if not equals or name not in _FIELDS:
            raise Failed(f"{word!r} is none of {', '.join(f'{field}=' for field in _FIELDS)}")
        found[name] = value
    return found


def _one(given: Mapping[str, Any]) -> list[str]:
    start, stride = _number(given.get("start", 1)), _number(given.get("stride", 1))
    if ("end" in given) == ("count" in given):
        raise Failed("give either end or count")
    if "count" in given:
        count = _number(given["count"])
        if count == 0:
            return []
        end = start + count * stride - 1
    else:
        end = _number(given["end"])
    if stride == 0:
        return []
    if (end - start) * stride < 0:
        raise Failed("stride leads away from end")
    numbers = range(start, end + (1 if stride > 0 else -1), stride)
    limits.check_count(len(numbers), "sequence")
    text = str(given.get("format", "%d"))
    if text.count("%") != 1:
        raise Failed(f"format {text!r} has not exactly one %")
    limits.check_percent(text, (1,))
    try:
        return [text % number for number in numbers]
    except (ValueError, TypeError) as error:
        raise Failed(f"format {text!r}: {error}") from None


def _number(value: Any) -> int:
    try:
        if isinstance(value, int):
            return value
        text = str(value)
        octal = re.fullmatch(r"0[0-7]+", text)
        return int(text, 8) if octal else int(text, 0)
    except ValueError:
        raise Failed(f"{value!r} is not a whole number") from None
