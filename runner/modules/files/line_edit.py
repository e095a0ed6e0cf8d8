"""One line of a file, by the rules of Ansible's lineinfile. Pure; works on bytes, as that does.

The rules are those of ansible-core 2.19, seen by running its module (tests/files/ansible). One is
left out: after an anchor on a last line that has no line break it glues the new line to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from runner.modules.base import Refused

Pattern = re.Pattern[bytes]


@dataclass(frozen=True, slots=True)
class Line:
    """Which line, and where it goes.

    Args:
        text: the line, without its line break.
        regexp: finds the line that `text` replaces (or, removing, every line that goes).
        search: the same, as plain text.
        anchor: with neither found, the line goes after it, or before it where `before` is true.
        first_line: without an anchor it goes to the file's beginning, else to its end.
        backrefs: groups of `regexp` are filled into `text`; without a match nothing is done.
        firstmatch: the first matching line counts instead of the last.
    """

    text: bytes
    regexp: Pattern | None = None
    search: bytes | None = None
    anchor: Pattern | None = None
    before: bool = False
    first_line: bool = False
    backrefs: bool = False
    firstmatch: bool = False


def without(content: bytes, line: Line) -> bytes:
    """The content without each line that matches `regexp` or `search`, or else equals `text`."""
    matches = _matcher(line) or (lambda each: each.rstrip(b"\r\n") == line.text)
    return b"".join(each for each in _lines(content) if not matches(each))


def with_line(content: bytes, line: Line) -> bytes:
    """The content with the line at its place. Raises `Refused` where `backrefs` name no group."""
    lines = _lines(content)
    found = _found(lines, line)
    if found is not None:
        lines[found] = _ended(_filled(lines[found], line) if line.backrefs else line.text)
        return b"".join(lines)
    equal, place = _place(lines, line)
    if equal is not None:
        lines[equal] = _ended(line.text)
    elif place is not None and not line.backrefs:
        _insert(lines, place, line.text)
    return b"".join(lines)


def _lines(content: bytes) -> list[bytes]:
    """Lines with their line breaks; only \\n ends one."""
    return [each for each in re.split(rb"(?<=\n)", content) if each]


def _ended(text: bytes) -> bytes:
    return text if text.endswith(b"\n") else text + b"\n"


def _matcher(line: Line) -> Callable[[bytes], bool] | None:
    regexp, search = line.regexp, line.search
    if regexp is not None:
        return lambda each: regexp.search(each) is not None
    if search is not None:
        return lambda each: search in each
    return None


def _found(lines: list[bytes], line: Line) -> int | None:
    """The line that `regexp` or `search` finds: the last one, or the first."""
    matches = _matcher(line)
    if matches is None:
        return None
    numbers = [number for number, each in enumerate(lines) if matches(each)]
    if not numbers:
        return None
    return numbers[0 if line.firstmatch else -1]


def _filled(found: bytes, line: Line) -> bytes:
    match = line.regexp.search(found) if line.regexp else None
    try:
        return match.expand(line.text) if match else line.text
    except (re.error, IndexError) as error:
        raise Refused(f"line: {line.text.decode()!r} does not fit its regexp: {error}") from None


def _place(lines: list[bytes], line: Line) -> tuple[int | None, int | None]:
    """The last line that equals `text`, if any, and where a new one would go.

    With `firstmatch` nothing below the anchor is looked at, but for the line right after it: if
    that is the wanted one, there is no place for another.
    """
    equal: int | None = None
    place = 0 if line.first_line else len(lines)
    for number, each in enumerate(lines):
        if each.rstrip(b"\r\n") == line.text:
            equal = number
        elif line.anchor is not None and line.anchor.search(each):
            place = number if line.before else number + 1
            if line.firstmatch:
                break
    follows = line.anchor is not None and not line.before and place < len(lines)
    stands = follows and lines[place].rstrip(b"\r\n") == line.text
    return equal, None if stands else place


def _insert(lines: list[bytes], place: int, text: bytes) -> None:
    if place == len(lines) and lines and lines[-1][-1:] not in (b"\n", b"\r"):
        lines[-1] += b"\n"
    lines.insert(place, text + b"\n")
