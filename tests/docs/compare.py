"""Compares the output a page shows with the real one, apart from what differs in every run."""

from __future__ import annotations

import re
from collections.abc import Sequence

_VARYING = (
    r"\d{8}-\d{6}-[0-9a-f]{4}",  # run
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",  # time of day with date
    r"\b\d\d:\d\d:\d\d\b",
    r"(?<=[a-z]-)(?:[0-9a-f]{10}-)?[0-9a-f]{5}\b",  # end of a pod's name
    r"\b198\.1[89]\.\d+\.\d+ *",  # address of a lab node, padded
    r"GPU-[0-9a-f-]{36}",
    r"(?<=process )\d+",
    r"(?<=PID )\d+",
)
_VARIES = re.compile("|".join(f"({pattern})" for pattern in _VARYING))


def difference(shown: Sequence[str], real: Sequence[str]) -> str:
    """What the page shows and the output lacks, or "". A line `...` stands for any lines, `...`
    inside a line for any text."""
    whole = "".join(f"{line.rstrip()}\n" for line in real)
    text = ""
    for line in shown:
        text += "(?:.*\n)*?" if line.strip() == "..." else f"{_pattern(line.rstrip())}\n"
        # Line by line, so that the first one that does not fit is named.
        if not re.match(text, whole):
            return f"the page shows: {line}\nthe output is:\n{whole}"
    if not re.fullmatch(text, whole):
        return f"the output goes on after what the page shows:\n{whole}"
    return ""


def _pattern(line: str) -> str:
    """A line as a regular expression."""
    made, position = "", 0
    for match in _VARIES.finditer(line):
        made += _literal(line[position : match.start()]) + _VARYING[(match.lastindex or 1) - 1]
        position = match.end()
    return made + _literal(line[position:])


def _literal(text: str) -> str:
    return ".*".join(re.escape(part) for part in text.split("..."))
