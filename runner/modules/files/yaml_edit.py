"""Edits of a YAML text that leave every other byte as it was.

PyYAML tells where every value stands; what is new is written by it, in the layout around it: block
or flow, indentation, quotes. It reads YAML 1.1, in which `yes` is true. A text with several
documents, duplicate keys, or tags of its own is refused; so is an edit that anchors and aliases
would carry elsewhere, for the result is read again and would mean something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from runner.modules.base import Refused
from runner.modules.files.data import Keys, check_size


class YamlEdits:
    """Changes of a YAML text in one place."""

    def parse(self, text: str, name: str) -> dict[str, Any]:
        """The mapping; an empty text is an empty one. Raises `Refused` with line and column."""
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            _check_keys(root)
            data = None if root is None else loader.construct_document(root)
            check_size(data, name)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
            raise Refused(
                f"{name} is not valid YAML: {error.problem or error.context}{where}; nothing was"
                " changed"
            ) from None
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise Refused(f"{name} cannot be edited: {error}; nothing was changed") from None
        except RecursionError:
            raise Refused(f"{name} is nested too deeply to be edited") from None
        if data is not None and not isinstance(data, dict):
            raise Refused(f"{name} holds no YAML mapping, but {type(data).__name__}")
        unshared: dict[str, Any] = _unshared(data or {})
        return unshared

    def set(self, text: str, keys: Keys, value: Any) -> str:
        layout = Layout(text)
        if layout.is_empty:
            for name in reversed(keys):
                value = {name: value}
            gap = "" if not text or text.endswith("\n") else layout.newline
            return text + gap + layout.block(value, 0)
        key, holder, rest = layout.deepest(keys)
        for name in reversed(rest[1:]):
            value = {name: value}
        if not rest:
            return layout.replaced(key, holder, value)
        if isinstance(holder, MappingNode):
            return layout.added(key, holder, rest[0], value)
        return layout.replaced(key, holder, {rest[0]: value})

    def remove(self, text: str, keys: Keys) -> str:
        layout = Layout(text)
        key, holder, rest = layout.deepest(keys[:-1])
        if rest or not isinstance(holder, MappingNode):
            raise Refused("a key that comes from another mapping (<<) cannot be removed")
        return layout.removed(key, holder, keys[-1])

    def append(self, text: str, keys: Keys, value: Any) -> str:
        layout = Layout(text)
        key, holder, _ = layout.deepest(keys)
        return layout.appended(key, holder, value)


def _check_keys(root: Node | None) -> None:
    """Raises ValueError for a key that stands twice in one mapping."""
    for node in _walk(root):
        if not isinstance(node, MappingNode):
            continue
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                line = key.start_mark.line + 1
                raise ValueError(f"the key {key.value!r} stands twice in one mapping (line {line})")
            seen.add(name)


def _walk(root: Node | None) -> Iterator[Node]:
    """Every node once, aliases not followed again."""
    nodes, seen = [root], set[int]()
    while nodes:
        node = nodes.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, MappingNode):
            nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, SequenceNode):
            nodes += node.value


def _unshared(data: Any) -> Any:
    """A copy in which an alias is a value of its own."""
    if isinstance(data, dict):
        return {key: _unshared(value) for key, value in data.items()}
    return [_unshared(item) for item in data] if isinstance(data, list) else data


class _Dumper(yaml.SafeDumper):
    """Texts of several lines are written on one; nothing is written as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _IndentingDumper(_Dumper):
    """Sequences in mappings are indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    style = '"' if re.search(r"[\n\r\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def flow(value: Any, like: Node | None = None, inside: bool = False) -> str:
    """A value on one line.

    Args:
        like: the value that it replaces; a text is quoted as that is.
        inside: it stands in a flow collection, where a text needs quotes more often.
    """
    quote = like.style if isinstance(like, ScalarNode) and like.style in ("'", '"') else None
    made = yaml.dump(
        [value] if inside else value,
        Dumper=_Dumper,
        default_flow_style=True,
        default_style=quote if isinstance(value, str) and "\n" not in value else None,
        sort_keys=False,
        allow_unicode=True,
        width=10**6,
    )
    made = made.removesuffix("\n").removesuffix("\n...")
    return made[1:-1] if inside else made


class _LayoutLoader(yaml.SafeLoader):
    """An alias is a node in its own place, not the one it stands for."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            return ScalarNode("alias", event.anchor, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)


class Layout:
    """A text, the places of its values, and what its layout has in common."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.root = yaml.compose(text, Loader=_LayoutLoader)
        except yaml.YAMLError:  # an edit before this one met a layout that it does not know
            raise Refused("this YAML is laid out in a way that cannot be edited safely") from None
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.step, self.indents_sequences = self._habits()

    @property
    def is_empty(self) -> bool:
        """Nothing but comments, or the line that begins a document."""
        return self.root is None or self.root.start_mark.index == self.root.end_mark.index

    def _habits(self) -> tuple[int, bool]:
        """How much deeper mappings are indented, and whether sequences in them are."""
        step, indents = 2, False
        for node in _walk(self.root):
            if not isinstance(node, MappingNode) or node.flow_style:
                continue
            for key, value in node.value:
                column = value.start_mark.column - key.start_mark.column
                below = value.start_mark.line > key.start_mark.line
                if below and isinstance(value, MappingNode) and not value.flow_style and column > 0:
                    step = column
                elif below and isinstance(value, SequenceNode) and not value.flow_style:
                    indents = column > 0
        return step, indents

    # ---- places ----

    def deepest(self, keys: Keys) -> tuple[Node | None, Node, Keys]:
        """The value nearest to a path with its key, and the rest of the path leading on."""
        assert self.root is not None
        key: Node | None = None
        node: Node = self.root
        for number, name in enumerate(keys):
            pair = _member(node, name)
            if pair is None:
                return key, node, keys[number:]
            key, node = pair
        return key, node, ()

    def end(self, node: Node) -> int:
        """The end of a value's own text, without what follows in its line and below."""
        if isinstance(node, CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self.end(last[1] if isinstance(last, tuple) else last)
        end = int(node.end_mark.index)
        if isinstance(node, ScalarNode) and node.style in ("|", ">"):
            # Its last line break is the line's; further ones are the value's only with "keep".
            kept = "+" in self.text[node.start_mark.index :].split("\n", 1)[0]
            block = self.text[:end].rstrip(" ")
            return len(block.removesuffix("\n").removesuffix("\r") if kept else block.rstrip())
        return end

    def line_after(self, position: int) -> int:
        """Where the next line begins."""
        found = self.text.find("\n", position)
        return len(self.text) if found < 0 else found + 1

    def insert(self, position: int, lines: str) -> str:
        """Whole lines put in between two."""
        head = self.text[:position]
        if head and not head.endswith("\n"):
            head += self.newline
        return head + lines + self.text[position:]

    # ---- text ----

    def block(self, value: Any, column: int) -> str:
        """A mapping or sequence as lines that begin at a column."""
        dumper = _IndentingDumper if self.indents_sequences else _Dumper
        lines = yaml.dump(
            value,
            Dumper=dumper,
            default_flow_style=False,
            sort_keys=False,
            allow_unicode=True,
            width=10**6,
            indent=max(self.step, 2),
        ).splitlines()
        if isinstance(value, list) and self.indents_sequences:
            own = len(lines[0]) - len(lines[0].lstrip(" "))
            lines = [line[own:] for line in lines]
        return "".join(f"{' ' * column}{line}{self.newline}" for line in lines)

    def replaced(self, key: Node | None, node: Node, value: Any) -> str:
        """The text with another value in a place."""
        start, end = int(node.start_mark.index), self.end(node)
        if key is None:
            return self.text[:start] + flow(value, node) + self.text[end:]
        after = self._after_colon(key)
        below = node.start_mark.line > key.start_mark.line
        inside = self._in_flow(key)
        lines = isinstance(value, dict | list) and bool(value)
        if lines and not inside and not _is_flow(node):
            made = self._below(key, value).removesuffix(self.newline)
            if below:  # what stands beside the key stays
                return self.text[: self.line_after(after)] + made + self.text[end:]
            return self.text[:after] + self.newline + made + self.text[end:]
        if below or start == end:
            return f"{self.text[:after]} {flow(value, node, inside)}{self.text[max(after, end) :]}"
        return self.text[:start] + flow(value, node, inside) + self.text[end:]

    def _after_colon(self, key: Node) -> int:
        return self.text.index(":", int(key.end_mark.index)) + 1

    def _in_flow(self, key: Node) -> bool:
        """Whether a key stands in a flow collection."""
        return any(
            _is_flow(node) and node.start_mark.index <= key.start_mark.index < node.end_mark.index
            for node in _walk(self.root)
        )

    def _below(self, key: Node, value: Any) -> str:
        """A mapping or sequence as lines under its key."""
        column = int(key.start_mark.column)
        if isinstance(value, Mapping) or self.indents_sequences:
            column += self.step
        return self.block(value, column)

    def added(self, key: Node | None, holder: MappingNode, name: str, value: Any) -> str:
        """The text with one more member behind the last of a mapping."""
        if not holder.value:
            return self.replaced(key, holder, {name: value})
        last = holder.value[-1][1]
        end = self.end(last)
        if holder.flow_style:
            pair = flow({name: value})[1:-1]
            return f"{self.text[:end]}, {pair}{self.text[end:]}"
        first = int(holder.value[0][0].start_mark.index)
        line = self.text[self.text.rfind("\n", 0, first) + 1 : first + 1]
        column = len(line) - len(line.lstrip(" "))
        return self.insert(self.line_after(end), self.block({name: value}, column))

    def removed(self, key: Node | None, holder: MappingNode, name: str) -> str:
        """The text without a member of a mapping."""
        pair = _member(holder, name)
        if pair is None:
            raise Refused("a key that comes from another mapping (<<) cannot be removed")
        if len(holder.value) == 1:
            return self._emptied(key, holder)
        number = next(n for n, each in enumerate(holder.value) if each[0] is pair[0])
        start, end = int(pair[0].start_mark.index), self.end(pair[1])
        if not holder.flow_style:
            start = self.text.rfind("\n", 0, start) + 1
            return self.text[:start] + self.text[self.line_after(end) :]
        if number + 1 < len(holder.value):
            return self.text[:start] + self.text[holder.value[number + 1][0].start_mark.index :]
        return self.text[: self.end(holder.value[number - 1][1])] + self.text[end:]

    def _emptied(self, key: Node | None, holder: MappingNode) -> str:
        start, end = int(holder.start_mark.index), self.end(holder)
        if holder.flow_style or key is None:
            return self.text[:start] + "{}" + self.text[end:]
        return self.text[: self._after_colon(key)] + " {}" + self.text[end:]

    def appended(self, key: Node | None, holder: Node, value: Any) -> str:
        """The text with one more item at the end of a sequence."""
        if not isinstance(holder, SequenceNode) or not holder.value:
            return self.replaced(key, holder, [value])
        end = self.end(holder.value[-1])
        if holder.flow_style:
            return f"{self.text[:end]}, {flow(value, inside=True)}{self.text[end:]}"
        column = int(holder.start_mark.column)
        return self.insert(self.line_after(end), self.block([value], column))


def _is_flow(node: Node) -> bool:
    """A flow collection that holds something; an empty one may become a block."""
    return isinstance(node, CollectionNode) and bool(node.flow_style and node.value)


def _member(node: Node, name: str) -> tuple[Node, Node] | None:
    """A mapping's key of this text, and its value."""
    if not isinstance(node, MappingNode):
        return None
    return next(
        (
            (key, value)
            for key, value in node.value
            if key.value == name and key.tag == "tag:yaml.org,2002:str"
        ),
        None,
    )
