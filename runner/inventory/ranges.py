"""Host names with ranges: gpu[01:16:2].example, rack[a:f], web[1:3]:2222."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

MAX_HOSTS = 100_000
MAX_RANGES = 10

_RANGE = re.compile(r"\[([^\[\]:]*):([^\[\]:]*)(?::([^\[\]:]*))?\]")


def split_port(text: str) -> tuple[str, int | None]:
    """A host pattern and the port after its last colon, if there is one.

    "[2001:db8::1]:22" is an IPv6 address and a port, "[01:03]" a range without one.
    """
    bracketed = re.fullmatch(r"\[([0-9a-fA-F:.]*::?[0-9a-fA-F:.]*)\](?::(\d{1,5}))?", text)
    if bracketed and bracketed[1].count(":") > 2:
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    if re.sub(r"\[[^\]]*\]", "", text).count(":") != 1:
        return text, None
    name, _, port = text.rpartition(":")
    return (name, int(port)) if port.isdigit() and "]" not in port else (text, None)


def expand(text: str) -> Iterator[str]:
    """Every name a pattern stands for, in order.

    Raises:
        ValueError: the range is malformed, backwards or too large; the message says how.
    """
    if len(_RANGE.findall(text)) > MAX_RANGES:
        raise ValueError(f"a name has at most {MAX_RANGES} ranges")
    for count, name in enumerate(_expand(text)):
        if count >= MAX_HOSTS:
            raise ValueError(f"{text[:80]} has more than {MAX_HOSTS} hosts")
        yield name


def _expand(text: str) -> Iterator[str]:
    match = _RANGE.search(text)
    if not match:
        yield text
        return
    head, tail = text[: match.start()], text[match.end() :]
    for value in _values(match[1], match[2], match[3], match[0]):
        for rest in _expand(tail):
            yield f"{head}{value}{rest}"


def _values(start: str, end: str, step: str | None, shown: str) -> list[str]:
    by = 1 if step is None else _step(step, shown)
    if not end:
        raise ValueError(f"range {shown} has no end; write it like [01:16]")
    if len(start) == 1 and len(end) == 1 and start in string.ascii_letters:
        if end not in string.ascii_letters:
            raise ValueError(f"range {shown} goes from a letter to a number")
        letters = string.ascii_letters
        found = list(letters[letters.index(start) : letters.index(end) + 1 : by])
        if not found:
            raise ValueError(f"range {shown} runs backwards")
        return found
    start = start or "0"
    if not (start.isdigit() and end.isdigit()):
        raise ValueError(f"range {shown} is neither of numbers nor of single letters")
    width = len(start) if len(start) > 1 and start[0] == "0" else 0
    if width and width != len(end):
        raise ValueError(
            f"range {shown}: both ends need {width} digits when the first begins with 0"
        )
    low, high = int(start), int(end)
    if low > high:
        raise ValueError(f"range {shown} runs backwards")
    if (high - low) // by >= MAX_HOSTS:
        raise ValueError(f"range {shown} has more than {MAX_HOSTS} hosts")
    return [str(number).zfill(width) for number in range(low, high + 1, by)]


def _step(text: str, shown: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"range {shown}: the step must be a number, 1 or more")
    return int(text)
