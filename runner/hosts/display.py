"""Text from hosts made safe to show: host output is data, never terminal control."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_KEPT = "\n\t"
_JOINERS = "\u200c\u200d"
"""Format characters that ordinary text in some scripts needs; they move nothing on a terminal."""


def printable(text: str) -> str:
    r"""Shows control, format and unpaired surrogate characters as `\x1b` or `\u202e`.

    Newlines and tabs stay; `\r\n` becomes a newline. Nothing that is left can move the cursor,
    change colours or reverse the direction of reading.

    Args:
        text: anything a host has sent.
    """
    lines = text.replace("\r\n", "\n")
    if lines.isascii() and lines.isprintable():
        return lines
    return "".join(_shown(character) for character in lines)


def _shown(character: str) -> str:
    if character in _KEPT or character in _JOINERS:
        return character
    # Cc control, Cf format (bidi overrides, zero width), Cs surrogates, Zl and Zp line breaks.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        code = ord(character)
        return (
            f"\\x{code:02x}"
            if code < 0x100
            else f"\\u{code:04x}"
            if code < 0x10000
            else f"\\U{code:08x}"
        )
    return character


def names(hosts: Sequence[str]) -> str:
    """The names of hosts, the first five where they are many."""
    if len(hosts) <= 6:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:5])} and {len(hosts) - 5} more"
