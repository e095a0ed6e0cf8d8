"""Where every statement of a TOML text stands, so that an edit touches only its own bytes.

The text must already have been accepted by `tomllib`: this scanner only finds boundaries.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Path = tuple[str | int, ...]
"""Keys from the root; a number is the index in an array of tables."""

TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|\n"
    r"|[\[\]{},=.]"
    r"|[ \t\r]+"
    r"|[^\"'#\n\[\]{},=. \t\r]+",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement with its line break.

    `path` is the table's for a header, the whole path from the root for a value; `table` is the
    path of the header it stands under; `keys` are the parts of its key as written. Values have
    `value_start` and `value_end` and the text between key and value, `equals`.
    """

    kind: Literal["blank", "comment", "table", "array", "value"]
    start: int
    end: int
    indent: str = ""
    path: Path = ()
    table: Path = ()
    keys: tuple[str, ...] = ()
    value_start: int = 0
    value_end: int = 0
    equals: str = ""


def scan(text: str) -> list[Statement]:
    """All statements, in order; together they are the whole text."""
    statements: list[Statement] = []
    arrays: dict[Path, int] = {}
    table: Path = ()
    position = 0
    while position < len(text):
        statement = _statement(text, position, table)
        if statement.kind in ("table", "array"):
            table = _place(statement, arrays)
            statement = _moved(statement, table)
        statements.append(statement)
        position = statement.end
    return statements


def _moved(statement: Statement, path: Path) -> Statement:
    return Statement(
        statement.kind, statement.start, statement.end, statement.indent, path, path, statement.keys
    )


def _place(header: Statement, arrays: dict[Path, int]) -> Path:
    """A header's path with the indices of the arrays of tables it is in."""
    path: Path = ()
    last = len(header.path) - 1
    for number, part in enumerate(header.path):
        path = (*path, part)
        if number == last and header.kind == "array":
            arrays[path] = arrays.get(path, 0) + 1
        if path in arrays:
            path = (*path, arrays[path] - 1)
    return path


def _statement(text: str, start: int, table: Path) -> Statement:
    begin = start
    while begin < len(text) and text[begin] in " \t\r":
        begin += 1
    indent = text[start:begin]
    first = text[begin : begin + 1]
    if first in ("", "\n", "#"):
        end = _line_end(text, begin)
        return Statement("comment" if first == "#" else "blank", start, end, indent)
    if first == "[":
        double = text.startswith("[[", begin)
        keys, _ = _key(text, begin + (2 if double else 1))
        end = _line_end(text, begin)
        kind: Literal["table", "array"] = "array" if double else "table"
        return Statement(kind, start, end, indent, unquoted(keys), (), keys)
    keys, after = _key(text, begin)
    key_end = begin + len(text[begin:after].rstrip())
    value_start = after + 1
    while text[value_start] in " \t":
        value_start += 1
    value_end = _value_end(text, value_start)
    return Statement(
        "value",
        start,
        _line_end(text, value_end),
        indent,
        (*table, *unquoted(keys)),
        table,
        keys,
        value_start,
        value_end,
        text[key_end:value_start],
    )


def _line_end(text: str, position: int) -> int:
    found = text.find("\n", position)
    return len(text) if found < 0 else found + 1


def tokens(text: str, position: int) -> Iterator[tuple[int, str]]:
    """Lexical tokens with their positions."""
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"no TOML token at {position}")
        yield position, match.group()
        position = match.end()


def _key(text: str, position: int) -> tuple[tuple[str, ...], int]:
    """The parts of a dotted key as written, and where `=` or `]` follows."""
    parts: list[str] = []
    for where, token in tokens(text, position):
        if token in ("=", "]"):
            return tuple(parts), where
        if token != "." and not token.isspace():
            parts.append(token)
    raise ValueError("a key without a value")


def _value_end(text: str, position: int) -> int:
    depth = 0
    end = position
    for where, token in tokens(text, position):
        if token == "\n" or token.startswith("#"):
            if depth == 0:
                break
            continue
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token, 0)
        if not token.isspace():
            end = where + len(token)
    return end


def unquoted(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that these texts mean."""
    return tuple(
        key if key[0] not in "\"'" else next(iter(tomllib.loads(f"{key} = 0"))) for key in keys
    )
