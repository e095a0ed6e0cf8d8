"""Words of a line by the rules of the shell: `shlex.split(line, comments=True)` in linear time.

shlex looks at one character at a time, and at a long line in quadratic time: a minute for a word
of a few megabytes.
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""
    (?P<blank>[ \t\r\n]+)
    | (?P<comment>\#[^\n]*\n?)
    | (?P<bare>[^ \t\r\n"'\\\#]+)
    | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
    | '(?P<single>[^']*)'
    | \\(?P<escaped>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\([\\\"])")


def split_words(line: str) -> list[str]:
    """The words of a line, without quotes and what follows a #.

    Raises:
        ValueError: a quote is not closed, or the line ends in a backslash.
    """
    words: list[str] = []
    parts: list[str] = []
    position = 0
    while position < len(line):
        piece = _PIECE.match(line, position)
        if piece is None:
            raise ValueError("a quote is not closed")
        position = piece.end()
        kind = piece.lastgroup or ""
        if kind in ("blank", "comment"):
            if parts:
                words.append("".join(parts))
            parts = []
        else:
            text = piece[kind]
            parts.append(_ESCAPED.sub(r"\1", text) if kind == "double" else text)
    if parts:
        words.append("".join(parts))
    return words
