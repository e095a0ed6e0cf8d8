"""How much one rendering may use: rounds, characters and seconds.

The limits are far above any configuration file. They exist so that a slip (or a text that somebody
else chose) ends in a message instead of a hanging run or a full memory.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MAX_TEXT = 10_000_000
"""Characters one value or file may come to."""
MAX_STEPS = 1_000_000
"""Loop rounds, calls and filters of one rendering."""
MAX_TOTAL_TEXT = 100_000_000
"""Characters all values made by one rendering may come to."""
MAX_RANGE = 100_000
"""Numbers of a range, and lists made of combinations."""
MAX_SECONDS = 10.0
"""Processor time of one rendering."""
MAX_DEPTH = 200
"""Lists and mappings inside each other."""


class LimitReached(Exception):
    """A template that would take too long or too much memory."""


class _Budget:
    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.characters = MAX_TOTAL_TEXT
        self.until = time.thread_time() + MAX_SECONDS


_current: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budget() -> Iterator[None]:
    """One rendering's budget. Renderings inside it (variables, template files) share it."""
    if _current.get() is not None:
        yield
        return
    token = _current.set(_Budget())
    try:
        yield
    finally:
        _current.reset(token)


def spend(steps: int = 1, characters: int = 0) -> None:
    """Take work from the budget of the rendering that is under way.

    Raises:
        LimitReached: it is used up.
    """
    left = _current.get()
    if left is None:
        return
    left.steps -= steps
    left.characters -= characters
    if left.steps < 0:
        raise LimitReached(f"more than {MAX_STEPS} loop rounds and calls")
    if left.characters < 0:
        raise LimitReached(f"texts of more than {MAX_TOTAL_TEXT} characters in all")
    if time.thread_time() > left.until:
        raise LimitReached(f"it takes longer than {MAX_SECONDS:g} seconds")


def seconds_left() -> float:
    """Processor time that the rendering under way may still take."""
    left = _current.get()
    return MAX_SECONDS if left is None else max(0.01, left.until - time.thread_time())


def spent_on(value: Any) -> Any:
    """The value that an operation gave, its text taken from the budget."""
    if isinstance(value, str):
        check_length(len(value))
        spend(0, len(value))
    return value


def weight(value: Any) -> int:
    """How large the value is when written out: its parts, and the characters of its texts.

    A list that stands in many places counts each time, as it would when it is written.

    Raises:
        LimitReached: too large, or nested too deeply.
    """
    if isinstance(value, str):
        size = 1 + len(value)
    elif isinstance(value, dict | list | tuple):
        size = _weight(value, {}, 0)
    else:
        return 1
    check_length(size)
    return size


def _weight(value: Any, known: dict[int, int], depth: int) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value)
    if not isinstance(value, dict | list | tuple):
        return 1
    if id(value) in known:
        return known[id(value)]
    if depth > MAX_DEPTH:
        raise LimitReached(f"lists and mappings nested more than {MAX_DEPTH} deep")
    parts: Iterable[Any] = value
    if isinstance(value, dict):
        parts = (*value.keys(), *value.values())
    # The lists and mappings live as long as this call, so that an id names one of them.
    size = known[id(value)] = 1 + sum(_weight(part, known, depth + 1) for part in parts)
    return size


def check_length(length: int) -> None:
    """Raises `LimitReached` for a text or list that would be too long."""
    if length > MAX_TEXT:
        raise LimitReached(f"a text or list longer than {MAX_TEXT}")


def check_count(count: int, what: str) -> None:
    """Raises `LimitReached` for a list that nobody writes down (numbers, combinations)."""
    if count > MAX_RANGE:
        raise LimitReached(f"{what}: more than {MAX_RANGE} of them")


def check_product(left: Any, right: Any) -> None:
    """Raises `LimitReached` where `left * right` would be too large."""
    for thing, times in ((left, right), (right, left)):
        if isinstance(thing, str | bytes | list | tuple) and isinstance(times, int):
            check_length(weight(thing) * times)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def check_power(left: Any, right: Any) -> None:
    """Raises `LimitReached` where `left ** right` would be too large."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))


def _check_bits(bits: int) -> None:
    if bits > 4096:
        raise LimitReached("a number of more than 4096 bits")


_PERCENT_WIDTH = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(?:(\*)|(\d*)(?:\.(?:(\*)|(\d*)))?)")
_BRACE_WIDTH = re.compile(r"\{[^{}]*[:!][^{}]*(\{)|\{[^{}]*?(\d{5,})[^{}]*\}")


def check_percent(text: str, values: Any) -> None:
    """Raises `LimitReached` where `text % values` would be too long."""
    for match in _PERCENT_WIDTH.finditer(text):
        if match[1] or match[3]:
            raise LimitReached("a width that is a value (%*d)")
        check_length(int((match[2] or "0")[-18:]) + int((match[4] or "0")[-18:]))
    check_length(len(text) + text.count("%") * weight(values))


def check_braces(text: str, values: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Raises `LimitReached` where `text.format(values)` would be too long."""
    for match in _BRACE_WIDTH.finditer(text):
        if match[1]:
            raise LimitReached("a format inside a format")
        check_length(int(match[2][-18:]))
    check_length(len(text) + text.count("{") * (weight(values) + weight(dict(named))))


def check_method(text: str, name: str, values: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Raises `LimitReached` where a method of a text would make one that is too long."""
    given = (*values, *named.values())
    for number in given:
        if isinstance(number, int):
            check_length(number)
    if name in ("format", "format_map"):
        check_braces(text, values, named)
    elif name == "join" and values:
        check_join(text, values[0])
    elif name == "replace" and len(values) > 1:
        check_replace(text, values[0], values[1])
    elif name == "expandtabs":
        sizes = [number for number in given if isinstance(number, int)]
        check_length(len(text) + text.count("\t") * max(sizes, default=8))
    elif name == "translate" and values and isinstance(values[0], dict):
        longest = max((len(v) for v in values[0].values() if isinstance(v, str)), default=1)
        check_length(len(text) * max(1, longest))


def check_join(separator: Any, values: Any) -> None:
    """Raises `LimitReached` where the values joined would be too long."""
    if isinstance(values, str | list | tuple | dict):
        check_length(weight(values) + len(values) * len(str(separator)))


def check_replace(text: Any, old: Any, new: Any) -> None:
    """Raises `LimitReached` where `text` would be too long with `new` for every `old`."""
    text, old, new = str(text), str(old), str(new)
    if len(new) > len(old):
        check_length(len(text) + text.count(old) * (len(new) - len(old)))
