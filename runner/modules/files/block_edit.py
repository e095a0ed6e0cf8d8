"""A block of lines between two markers, by the rules of Ansible's blockinfile. Pure, on bytes.

The rules are those of ansible-core 2.19, seen by running its module (tests/files/ansible). Where
that would remove what is not of the block (markers that do not pair) the edit is refused, and
where there is no block to remove nothing is touched, not even a missing final line break.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.modules.base import Refused


@dataclass(frozen=True, slots=True)
class Block:
    """A block and where a new one goes.

    Args:
        begin, end: the marker lines, without line breaks.
        text: what stands between them; empty: no block shall be there.
        anchor: a new block goes after the last line it matches (before it where `before` is
            true); compiled with MULTILINE it sees the whole file, else line by line.
        first: without an anchor the block goes to the file's beginning, else to its end.
        blank_before, blank_after: a blank line sets it off from what stands around it.
    """

    begin: bytes
    end: bytes
    text: bytes
    anchor: re.Pattern[bytes] | None = None
    before: bool = False
    first: bool = False
    blank_before: bool = False
    blank_after: bool = False


def with_block(content: bytes, block: Block) -> bytes:
    """The content with the block, or without it when its text is empty. Raises `Refused`."""
    lines = content.splitlines(keepends=True)
    span = _span(lines, block)
    if span is None and not block.text:
        return content
    start, end = span or (_place(content, lines, block),) * 2
    above, below = lines[:start], lines[end:]
    if above and not above[-1].endswith(b"\n"):
        above[-1] += b"\n"
    if not block.text:
        return b"".join(above + below)
    if block.blank_before and above and above[-1] != b"\n":
        above.append(b"\n")
    if block.blank_after and below and below[0] != b"\n":
        below.insert(0, b"\n")
    text = block.text if block.text.endswith(b"\n") else block.text + b"\n"
    return b"".join([*above, block.begin, b"\n", text, block.end, b"\n", *below])


def _span(lines: list[bytes], block: Block) -> tuple[int, int] | None:
    """First line and the one after the last of the block; of several, of the last."""
    # The last line of a file may lack its line break.
    plain = [line.removesuffix(b"\n") for line in lines]
    marks = [(n, line) for n, line in enumerate(plain) if line in (block.begin, block.end)]
    wanted = [block.begin, block.end] * ((len(marks) + 1) // 2)
    for (number, line), want in zip(marks, wanted, strict=False):
        if line != want:
            raise Refused(_unpaired(line, number))
    if len(marks) % 2:
        raise Refused(_unpaired(marks[-1][1], marks[-1][0]))
    return (marks[-2][0], marks[-1][0] + 1) if marks else None


def _unpaired(line: bytes, number: int) -> str:
    return (
        f"line {number + 1} is the marker {line.decode(errors='replace')!r} without its"
        " counterpart, so where the block ends is not known; repair the markers by hand"
    )


def _place(content: bytes, lines: list[bytes], block: Block) -> int:
    """The number of the line that a new block goes before."""
    if block.anchor is None:
        return 0 if block.first else len(lines)
    found: int | None = None
    if block.anchor.flags & re.MULTILINE:
        match = block.anchor.search(content)
        if match:
            found = content.count(b"\n", 0, match.start() if block.before else match.end())
    else:
        found = max((n for n, each in enumerate(lines) if block.anchor.search(each)), default=None)
    if found is None:
        return len(lines)
    return min(found if block.before else found + 1, len(lines))
