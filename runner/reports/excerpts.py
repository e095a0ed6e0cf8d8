"""A mistake for people: its place, what is wrong, the line it stands in, a caret, and the cure."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from runner.errors import Origin, Problem
from runner.hosts.display import printable

_WIDTH = 100
_SECRET = re.compile(
    r"""(?ix)
    ([\w.-]* (?: pass | secret | token | credential | api_?key | private_?key(?!_file) ) [\w.-]*
     ["']? \s* [:=] \s*)
    \S.*"""
)


def as_text(problem: Problem) -> str:
    """`file:line:column: error: message`, with the source line where it can be read."""
    where = f"{problem.origin}: " if problem.origin else ""
    lines = [f"{where}{problem.level}: {problem.message}"]
    if problem.origin and problem.origin.line:
        lines += excerpt(problem.origin)
    if problem.hint:
        lines += [f"    {line}" for line in problem.hint.splitlines()]
    return "\n".join(printable(line) for line in lines)


def excerpt(origin: Origin) -> list[str]:
    """The line and a caret under the column; empty where the file has no such line.

    What stands behind the name of a secret is not shown.
    """
    line = _line(Path(origin.file), origin.line)
    if not line.strip():
        return []
    line = _SECRET.sub(r"\1********", line)
    column = min(max(origin.column, 1), len(line) + 1) - 1
    begin = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    shown = ("..." if begin else "") + line[begin : begin + _WIDTH]
    shown += "..." if len(line) > begin + _WIDTH else ""
    caret = " " * (column - begin + (3 if begin else 0)) + "^"
    number = f"{origin.line} | "
    return [f"  {number}{shown}", f"  {' ' * len(number)}{caret}"]


def _line(path: Path, number: int) -> str:
    """One line of a file, as wide on screen as it is long; empty where it cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            text = next(islice(stream, number - 1, number), "")
    except OSError:
        return ""
    text = text.rstrip("\r\n").replace("\t", " ")
    return "".join(sign if sign.isprintable() else "?" for sign in text)
