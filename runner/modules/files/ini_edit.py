"""Edits of an INI text that leave every other byte as it was. Pure.

There is no one INI: systemd, Git, Samba and Python each read their own. What is common to them is
taken: `[section]`, `option = value`, comments that begin with # or ;, and a value that goes on in
lines that are indented deeper or follow a backslash. Options that are commented out are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.modules.base import Refused

_HEADER = re.compile(r"\ufeff?[ \t]*\[(?P<name>[^\]\r\n]*)\]")
_OPTION = re.compile(
    r"(?P<indent>\ufeff?[ \t]*)(?P<name>[^\s#;=\[\ufeff][^=\r\n]*?)[ \t]*"
    r"(?:=[ \t]*(?P<value>[^\r\n]*?)[ \t]*)?(?:\r?\n)?"
)

Value = str | None
"""None: the option stands alone, without `=`."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option as it stands. `lines`: its first line and the one after its last."""

    name: str
    value: Value
    lines: tuple[int, int]


@dataclass(slots=True)
class Section:
    """A section as it stands; the part before the first header has the name None."""

    name: str | None
    start: int
    end: int = 0
    options: list[Option] = field(default_factory=list)

    def values(self, option: str) -> list[Value]:
        return [each.value for each in self.options if each.name == option]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be so.

    Args:
        section: None: the part before the first header.
        has: which of several sections of that name: option -> values it has.
        option: None: the section itself is meant.
        values: what the option shall have, each on a line of its own.
        present: False: the option (or section) shall not be there.
        exclusive: other values of the option shall not be there; removing, all of them go.
        spaces: whether `=` of a new line stands between blanks; None: as in the file.
    """

    section: str | None
    has: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    option: str | None = None
    values: Sequence[Value] = ()
    present: bool = True
    exclusive: bool = True
    spaces: bool | None = None


class Lines:
    """A text's lines, and edits of them that are made all at once."""

    def __init__(self, text: str) -> None:
        # Only \n ends a line.
        self.lines = [line for line in re.split(r"(?<=\n)", text) if line]
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.edits: list[tuple[int, int, list[str]]] = []
        self.sections = _sections(self.lines)

    def replace(self, start: int, end: int, new: Iterable[str] = ()) -> None:
        self.edits.append((start, end, [f"{line}{self.newline}" for line in new]))

    def text(self) -> str:
        lines = list(self.lines)
        for start, end, new in sorted(self.edits, key=lambda edit: edit[:2], reverse=True):
            if new and start == len(lines) and lines and not lines[-1].endswith("\n"):
                lines[-1] += self.newline
            lines[start:end] = new
        return "".join(lines)


def edit(text: str, wanted: Wanted, name: str = "the file") -> str:
    """The text with the section or option as wanted.

    Raises:
        Refused: several sections fit, so which one is meant is not known.
    """
    lines = Lines(text)
    section = _chosen(lines.sections, wanted, name)
    if not wanted.present:
        if section is not None:
            _remove(lines, section, wanted)
    elif section is None:
        _append_section(lines, wanted)
    elif wanted.option is not None:
        _set(lines, section, wanted.option, wanted)
    return lines.text()


def _sections(lines: Sequence[str]) -> list[Section]:
    sections = [Section(None, 0)]
    number = 0
    while number < len(lines):
        header = _HEADER.match(lines[number])
        option = _OPTION.fullmatch(lines[number])
        after = number + 1
        if header:
            sections[-1].end = number
            sections.append(Section(header["name"], number))
        elif option:
            after = _option_end(lines, number, len(option["indent"]))
            value = option["value"] if after == number + 1 else "".join(lines[number:after])
            sections[-1].options.append(Option(option["name"], value, (number, after)))
        number = after
    sections[-1].end = len(lines)
    return sections


def _option_end(lines: Sequence[str], number: int, indent: int) -> int:
    """The line after the last of a value that goes on."""
    while number + 1 < len(lines):
        bare, following = lines[number].rstrip("\r\n"), lines[number + 1]
        text = following.lstrip(" \t")
        deeper = len(following) - len(text) > indent and not re.match(r"[#;\[\r\n]|$", text)
        if not bare.endswith("\\") and (not deeper or "=" in text):
            break
        number += 1
    return number + 1


def _chosen(sections: Sequence[Section], wanted: Wanted, name: str) -> Section | None:
    if wanted.section is None:
        return sections[0]
    found = [
        section
        for section in sections
        if section.name == wanted.section
        and all(set(values) <= set(section.values(option)) for option, values in wanted.has.items())
    ]
    if len(found) > 1:
        raise Refused(
            f"{name}: [{wanted.section}] stands there {len(found)} times; say with"
            " section_has_values which one is meant"
        )
    return found[0] if found else None


def _remove(lines: Lines, section: Section, wanted: Wanted) -> None:
    if wanted.option is None:
        lines.replace(section.start, _own_end(lines, section))
        return
    for option in section.options:
        gone = wanted.exclusive or option.value in wanted.values
        if option.name == wanted.option and gone:
            lines.replace(*option.lines)


def _own_end(lines: Lines, section: Section) -> int:
    """The end of a section without the comment that stands right above the next header."""
    end = section.end
    if end == len(lines.lines):
        return end
    while end > section.start + 1 and lines.lines[end - 1].lstrip(" \t")[:1] in ("#", ";"):
        end -= 1
    return end


def _set(lines: Lines, section: Section, name: str, wanted: Wanted) -> None:
    """The option's values: those that are there stay, others are replaced, the rest is added."""
    there = [option for option in section.options if option.name == name]
    missing = [value for value in wanted.values if value not in [each.value for each in there]]
    if wanted.exclusive:
        for option in _surplus(there, wanted.values):
            if missing:
                lines.replace(*option.lines, [_changed(lines, option, missing.pop(0))])
            else:
                lines.replace(*option.lines)
    if missing:
        place, indent, gap = _place(lines, section, there)
        new = [indent + _line(lines, name, value, wanted) for value in missing]
        lines.replace(place, place, [*new, *gap])


def _surplus(there: Sequence[Option], values: Sequence[Value]) -> list[Option]:
    """Lines whose value is not wanted, or stands there already."""
    seen: set[Value] = set()
    surplus = []
    for option in there:
        if option.value not in values or option.value in seen:
            surplus.append(option)
        seen.add(option.value)
    return surplus


def _changed(lines: Lines, option: Option, value: Value) -> str:
    """The option's line with another value and its own layout."""
    first = lines.lines[option.lines[0]].rstrip("\r\n")
    head, equals, rest = first.partition("=")
    if value is None:
        return head.rstrip()
    if not equals:
        return f"{head.rstrip()} = {value}"
    blank = re.match(r"[ \t]*", rest)
    return f"{head}={blank.group() if blank else ''}{value}".rstrip()


def _line(lines: Lines, name: str, value: Value, wanted: Wanted) -> str:
    if value is None:
        return name
    spaces = wanted.spaces
    if spaces is None:
        written = [lines.lines[o.lines[0]] for s in lines.sections for o in s.options]
        tight = sum(1 for line in written if re.match(r"[^=]*\S=(\S|$)", line))
        spaces = 2 * tight <= len(written)
    return f"{name} = {value}".rstrip() if spaces else f"{name}={value}"


def _place(lines: Lines, section: Section, there: Sequence[Option]) -> tuple[int, str, list[str]]:
    """Where a new line of a section goes, its indentation, and what sets it off below."""
    like = there or section.options
    if like:
        start, end = like[-1].lines
        indent = re.match(r"\ufeff?([ \t]*)", lines.lines[start])
        return end, indent.group(1) if indent else "", []
    if section.name is not None:
        return section.start + 1, "", []
    end = _own_end(lines, section)
    return end, "", [""] if end < len(lines.lines) else []


def _append_section(lines: Lines, wanted: Wanted) -> None:
    new = [f"[{wanted.section}]"]
    for name, values in wanted.has.items():
        if name != wanted.option:
            new += [_line(lines, name, value, wanted) for value in values]
    if wanted.option is not None:
        own = dict.fromkeys([*wanted.has.get(wanted.option, ()), *wanted.values])
        new += [_line(lines, wanted.option, value, wanted) for value in own]
    end = len(lines.lines)
    gap = [""] if end and lines.lines[-1].strip() else []
    lines.replace(end, end, [*gap, *new])
