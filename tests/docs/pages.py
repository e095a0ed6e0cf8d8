"""Reads the project's Markdown pages: fenced blocks, and the commands they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
"""Pages that people write; those below docs/modules and docs/playbooks are made of the code."""

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.\w+)$")
_COMMAND = re.compile(r"^ *(?:\$ )?(?:sudo )?((?:gpurun|\./dev lab) .*)$", re.MULTILINE)
_INLINE = re.compile(r"`((?:sudo )?(?:gpurun|\./dev lab) [^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the page it begins on."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str:
        """The file it shows: named by a comment on its first line."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a console block and the output the page shows under it."""

    command: str
    output: tuple[str, ...]
    line: int


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's fenced blocks of these languages, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text[: match.start()].count("\n") + 1)
        for match in _FENCE.finditer(text)
        if match[1] in languages
    ]


def steps(block: Block) -> Iterator[Step]:
    """The commands of a console block. A command goes on while its line ends with a backslash."""
    command, began, goes_on = "", 0, False
    output: list[str] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ ") and not goes_on:
            if command:
                yield Step(command, tuple(output), began)
            command, output, began = line[2:], [], number
        elif goes_on:
            command += f"\n{line}"
        else:
            output.append(line)
            continue
        goes_on = line.endswith("\\")
    if command:
        yield Step(command, tuple(output), began)


def commands(page: Path) -> list[str]:
    """Every `gpurun ...` and `./dev lab ...` that a page shows, in blocks and in sentences."""
    text = page.read_text(encoding="utf-8")
    fenced = "\n".join(match[2] for match in _FENCE.finditer(text))
    prose = _FENCE.sub("", text)
    indented = "\n".join(line for line in prose.splitlines() if line.startswith("    "))
    shown = [match[1] for part in (fenced, indented) for match in _COMMAND.finditer(part)]
    return shown + [match[1].removeprefix("sudo ") for match in _INLINE.finditer(prose)]
