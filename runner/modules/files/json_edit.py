"""Edits of a JSON text that leave every other byte as it was.

The text is read strictly (RFC 8259; a name that stands twice in an object is refused), then the
places of its values are found and only what differs is written, in the layout around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.modules.base import Refused
from runner.modules.files.data import Keys, check_size

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def dumped(value: Any) -> str:
    """A value on one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@dataclass(slots=True)
class Node:
    """A value and where it stands; an object's `members` by name, an array's items in `nodes`.

    `names` are the places where the members' names begin.
    """

    start: int
    end: int = 0
    kind: str = ""
    nodes: list[Node] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    names: list[int] = field(default_factory=list)

    def member(self, key: str) -> Node | None:
        return self.nodes[self.keys.index(key)] if key in self.keys else None

    def starts(self) -> list[int]:
        """Where the members or items begin."""
        return self.names if self.kind == "{" else [node.start for node in self.nodes]


class JsonEdits:
    """Changes of a JSON text in one place."""

    def parse(self, text: str, name: str) -> dict[str, Any]:
        """The object; an empty text is an empty one. Raises `Refused` with line and column."""
        if not text.strip():
            return {}
        try:
            data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            where = f"(at line {error.lineno}, column {error.colno})"
            raise Refused(
                f"{name} is not valid JSON: {error.msg} {where}; nothing was changed"
            ) from None
        except RecursionError:
            raise Refused(f"{name} is nested too deeply to be edited") from None
        except ValueError as error:
            raise Refused(f"{name} cannot be edited: {error}; nothing was changed") from None
        if not isinstance(data, dict):
            raise Refused(f"{name} holds no JSON object, but {type(data).__name__}")
        check_size(data, name)
        return data

    def set(self, text: str, keys: Keys, value: Any) -> str:
        if not text.strip():
            text = "{}\n"
        holder, rest = _deepest(text, keys)
        if not rest:
            return text[: holder.start] + _laid_out(text, holder, value) + text[holder.end :]
        for key in reversed(rest[1:]):
            value = {key: value}
        if holder.kind != "{":  # null, where an object shall be
            new = _laid_out(text, holder, {rest[0]: value})
            return text[: holder.start] + new + text[holder.end :]
        return _added(text, holder, value, f"{dumped(rest[0])}{_colon(text, holder)}")

    def remove(self, text: str, keys: Keys) -> str:
        holder, _ = _deepest(text, keys[:-1])
        number = holder.keys.index(keys[-1])
        starts, ends = holder.starts(), [node.end for node in holder.nodes]
        if len(starts) == 1:
            return text[: holder.start] + "{}" + text[holder.end :]
        if number + 1 < len(starts):
            return text[: starts[number]] + text[starts[number + 1] :]
        return text[: ends[number - 1]] + text[ends[number] :]

    def append(self, text: str, keys: Keys, value: Any) -> str:
        holder, _ = _deepest(text, keys)
        return _added(text, holder, value, "")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"{dumped(twice)} stands twice in one object")
    return data


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no value of JSON")


def _scan(text: str, position: int) -> Node:
    """The value at a place of a text that is known to be JSON."""
    node = Node(position, kind=text[position])
    if node.kind not in "{[":
        _, node.end = _DECODER.raw_decode(text, position)
    else:
        position = _after_blank(text, position + 1)
        while text[position] not in "}]":
            if text[position] == ",":
                position = _after_blank(text, position + 1)
            if node.kind == "{":
                node.names.append(position)
                key, position = _DECODER.raw_decode(text, position)
                node.keys.append(key)
                position = _after_blank(text, _after_blank(text, position) + 1)
            child = _scan(text, position)
            node.nodes.append(child)
            position = _after_blank(text, child.end)
        node.end = position + 1
    return node


def _after_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _deepest(text: str, keys: Keys) -> tuple[Node, Keys]:
    """The value nearest to a path, and the rest of the path that leads on from it."""
    node = _scan(text, _after_blank(text, 0))
    for number, key in enumerate(keys):
        below = node.member(key)
        if below is None:
            return node, keys[number:]
        node = below
    return node, ()


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.nodes:
        yield from _walk(child)


def _indent(text: str, position: int) -> str:
    """The blanks at the beginning of a place's line."""
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _spread(text: str, node: Node) -> bool:
    """Whether members or items stand on lines of their own."""
    return bool(node.nodes) and "\n" in text[node.start : node.starts()[0]]


def _step(text: str) -> str | None:
    """How much deeper each level is indented; None where everything is on one line."""
    root = _scan(text, _after_blank(text, 0))
    for node in _walk(root):
        if _spread(text, node):
            return _indent(text, node.starts()[0])[len(_indent(text, node.start)) :]
    return None if root.nodes else "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _colon(text: str, holder: Node) -> str:
    """What stands between name and value, as with the neighbours."""
    root = _scan(text, _after_blank(text, 0))
    for node in (holder, *_walk(root)):
        for start, value in zip(node.names, node.nodes, strict=False):
            between = text[_DECODER.raw_decode(text, start)[1] : value.start]
            if "\n" not in between:
                return between
    return ": "


def _laid_out(text: str, place: Node, value: Any) -> str:
    """A value as text for the place of another one."""
    if not isinstance(value, Mapping | list) or not value:
        return dumped(value)
    container = place.kind in ("{", "[") and bool(place.nodes)
    step = _step(text)
    if step is None or (container and not _spread(text, place)):
        return _one_line(text, place, value)
    return _block(text, value, _indent(text, place.start), step)


def _one_line(text: str, place: Node, value: Any) -> str:
    separators = (_comma(text, place), _colon(text, place))
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators)


def _block(text: str, value: Any, indent: str, step: str) -> str:
    """A value over several lines, all but the first indented."""
    made = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=step or None)
    return made.replace("\n", _newline(text) + indent)


def _added(text: str, holder: Node, value: Any, name: str) -> str:
    """A member or item behind the last one."""
    step = _step(text)
    if not holder.nodes:
        if step is None:
            inner = f"{name}{_one_line(text, holder, value)}"
            return text[: holder.start + 1] + inner + text[holder.end - 1 :]
        outer = _indent(text, holder.start)
        gap = _newline(text) + outer
        inner = f"{gap}{step}{name}{_block(text, value, outer + step, step)}{gap}"
        return text[: holder.start + 1] + inner + text[holder.end - 1 :]
    end = holder.nodes[-1].end
    if not _spread(text, holder):
        comma = _comma(text, holder)
        return f"{text[:end]}{comma}{name}{_one_line(text, holder, value)}{text[end:]}"
    first = holder.starts()[-1]
    indent = _indent(text, first)
    made = _block(text, value, indent, step or "")
    return f"{text[:end]},{_newline(text)}{indent}{name}{made}{text[end:]}"


def _comma(text: str, holder: Node) -> str:
    """What stands between two members on one line, as with the neighbours."""
    root = _scan(text, _after_blank(text, 0))
    for node in (holder, *_walk(root)):
        if len(node.nodes) > 1:
            between = text[node.nodes[0].end : node.starts()[1]]
            if "\n" not in between:
                return between
    return ", " if _colon(text, holder).endswith(" ") else ","
