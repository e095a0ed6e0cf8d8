"""A diff with colours: whole lines, and the words that changed in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from rich.text import Text

from runner.reports.diffs import paired

CHANGED = "reverse"
"""Style of words that differ, on top of their line's."""
_STYLES = {"+": "green", "-": "red"}
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


def highlighted(lines: Sequence[str]) -> list[Text]:
    """The lines of a diff, notes above it included, as they are: only styles are added."""
    start = next((n for n, line in enumerate(lines) if line.startswith("@@")), len(lines))
    texts = [
        Text(line, style=_STYLES.get(line[:1], "") if number >= start else "")
        for number, line in enumerate(lines)
    ]
    for old, new in paired(lines, start):
        before, after = _differing(lines[old], lines[new])
        for number, spans in ((old, before), (new, after)):
            for first, end in spans:
                texts[number].stylize(CHANGED, first, end)
    return texts


Spans = list[tuple[int, int]]


def _differing(old: str, new: str) -> tuple[Spans, Spans]:
    """Where two lines of a diff differ, as positions in each of them."""
    before, after = _WORDS.findall(old[1:]), _WORDS.findall(new[1:])
    codes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = [code for code in codes if code[0] != "equal"]
    return (
        list(_spans(before, [(first, end) for _, first, end, _, _ in changed])),
        list(_spans(after, [(first, end) for _, _, _, first, end in changed])),
    )


def _spans(words: Sequence[str], ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    starts = [1]  # behind the sign
    for word in words:
        starts.append(starts[-1] + len(word))
    return ((starts[first], starts[end]) for first, end in ranges if first < end)
