"""How a TOML file is written: indentation, quotes, blank lines; and new text in the same way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit

from runner.modules.files.toml_layout import Path, Statement, scan, tokens

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEADERS = ("table", "array")


def starts_with(path: Path, prefix: Sequence[str | int]) -> bool:
    return path[: len(prefix)] == tuple(prefix)


def inline(value: Any, quote: str = '"') -> str:
    """A value as TOML on one line."""
    if isinstance(value, Mapping):
        pairs = [f"{key_text(key, quote)} = {inline(item, quote)}" for key, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item, quote) for item in value) + "]"
    if isinstance(value, str) and quote == "'" and re.fullmatch(r"[^'\x00-\x1f\x7f]*", value):
        return f"'{value}'"
    return str(tomlkit.item(value).as_string())


def key_text(key: str, quote: str = '"') -> str:
    """A key as it is written: bare where TOML allows it."""
    return key if _BARE.fullmatch(key) else inline(key, quote)


def _items(array: str) -> list[tuple[int, int]]:
    """Where the items of an array begin and end in its text."""
    found: list[tuple[int, int]] = []
    depth, start, end = 0, 0, 0
    for where, token in tokens(array, 1):
        depth += (token in ("[", "{")) - (token in ("]", "}"))
        if depth < 0 or (depth == 0 and token == ","):
            if start:
                found.append((start, end))
            start = 0
        elif not token.isspace() and not token.startswith("#"):
            start, end = start or where, where + len(token)
    return found


def _comma_after(array: str, end: int) -> int:
    """Where the comma that follows an item ends; 0 when none does."""
    for where, token in tokens(array, end):
        if token == ",":
            return where + 1
        if token == "]":
            break
    return 0


def _without_last_comma(text: str) -> str:
    commas = [where for where, token in tokens(text, 1) if token == ","]
    return text[: commas[-1]] + text[commas[-1] + 1 :] if commas else text


class Style:
    """The statements of a text and what they have in common."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.statements = scan(text)
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.headers = [s for s in self.statements if s.kind in _HEADERS]
        values = [s for s in self.statements if s.kind == "value"]
        starts = Counter(text[s.value_start] for s in values)
        starts.update(key[0] for s in self.headers for key in s.keys if key[0] in "\"'")
        self.quote = "'" if starts["'"] > starts['"'] else '"'
        self.equals = "=" if values and all(s.equals == "=" for s in values) else " = "
        self.value_indent = self._step((h, s) for h in self.headers for s in self._first_value(h))
        self.table_indent = self._step(
            (parent, child)
            for child in self.headers
            for parent in self.headers
            if child.path[:-1] == parent.path
        )

    @staticmethod
    def _step(pairs: Any) -> str:
        """How much deeper the second of a pair is indented, in most pairs."""
        steps = Counter(
            inner.indent[len(outer.indent) :]
            for outer, inner in pairs
            if inner.indent.startswith(outer.indent)
        )
        return steps.most_common(1)[0][0] if steps else ""

    def _first_value(self, header: Statement) -> list[Statement]:
        own = (s for s in self.statements if s.kind == "value" and s.table == header.path)
        return [s for _, s in zip(range(1), own, strict=False)]

    # ---- text ----

    def value(self, value: Any, like: str = "") -> str:
        """A value as text, quoted as in `like` where that holds strings."""
        quotes = [quote for quote in "'\"" if quote in like]
        return inline(value, quotes[0] if len(quotes) == 1 else self.quote)

    def assignment(self, indent: str, key: str, value: Any) -> str:
        return f"{indent}{key_text(key, self.quote)}{self.equals}{self.value(value)}{self.newline}"

    def dotted(self, like: Statement, table: Sequence[str], path: Sequence[str], value: Any) -> str:
        """Assignments below a table that is defined by dotted keys, as `like` is one."""
        written = like.keys[: len(table) - len(like.table)]
        key = ".".join((*written, *(key_text(k, self.quote) for k in path[len(table) :])))
        uses_inline = self.text[like.value_start] == "{"
        if isinstance(value, Mapping) and value and not uses_inline:
            return "".join(
                self.dotted(like, table, (*path, name), item) for name, item in value.items()
            )
        return f"{like.indent}{key}{self.equals}{self.value(value)}{self.newline}"

    def table(self, path: Path, value: Mapping[str, Any], indent: str, gap: str = "") -> str:
        """A table with its header, and the tables in it after it, `gap` between them."""
        plain = {k: v for k, v in value.items() if not isinstance(v, Mapping)}
        tables = {k: v for k, v in value.items() if isinstance(v, Mapping)}
        blocks = []
        if plain or not tables:
            lines = [f"{indent}[{'.'.join(self._header_keys(path))}]{self.newline}"]
            deeper = indent + self._sibling_value_indent(path)
            lines += [self.assignment(deeper, key, item) for key, item in plain.items()]
            blocks.append("".join(lines))
        inner = indent + self._sibling_table_indent(path) if blocks else indent
        blocks += [self.table((*path, k), v, inner, gap) for k, v in tables.items()]
        return gap.join(blocks)

    def _sibling_value_indent(self, path: Path) -> str:
        for header in self._siblings(path):
            for first in self._first_value(header):
                return first.indent[len(header.indent) :]
        return self.value_indent

    def _sibling_table_indent(self, path: Path) -> str:
        siblings = self._siblings(path)
        for child in self.headers:
            for header in siblings:
                if child.path[:-1] == header.path and child.indent.startswith(header.indent):
                    return child.indent[len(header.indent) :]
        return self.table_indent

    def _siblings(self, path: Path) -> list[Statement]:
        return [h for h in self.headers if h.path[:-1] == path[:-1]]

    def _header_keys(self, path: Path) -> list[str]:
        """A header's keys, quoted as other headers quote them."""
        written: list[str] = []
        for number, part in enumerate(path):
            like = next(
                (
                    h
                    for h in self.headers
                    if len(h.keys) == len(h.path) and starts_with(h.path, path[: number + 1])
                ),
                None,
            )
            written.append(like.keys[number] if like else key_text(str(part), self.quote))
        return written

    def header_indent(self, path: Path) -> str:
        siblings = self._siblings(path)
        if siblings:
            return siblings[-1].indent
        for length in range(len(path) - 1, 0, -1):
            for header in self.headers:
                if header.path == path[:length]:
                    return header.indent + self.table_indent
        return ""

    def longer_array(self, text: str, value: Any) -> str:
        """An array's text with one more item at its end."""
        new = self.value(value, text)
        end, comma, closing = 1, False, len(text) - 1
        for where, token in tokens(text, 1):
            if where < closing and not token.isspace() and not token.startswith("#"):
                comma = token == ","
                end = where + len(token)
        empty = end == 1
        head, tail = text[:end], text[end:closing]
        if "\n" not in tail:
            space = "" if empty else (" " if comma else ", ")
            return f"{head}{space}{new}{text[end:]}"
        if not comma and not empty:
            head += ","
        line = tail.rfind("\n") + 1
        outer = tail[line:]
        inner = re.search(r"\n([ \t]+)[^ \t\r\n#\]]", text)
        indent = inner.group(1) if inner else outer + "  "
        last = "," if comma else ""
        return f"{head}{tail[:line]}{indent}{new}{last}{self.newline}{outer}]"

    def shorter_array(self, text: str, number: int) -> str:
        """An array's text without its item of that number: what `longer_array` adds is gone."""
        start, end = _items(text)[number]
        comma = _comma_after(text, end)
        line, rest = text.rfind("\n", 0, start) + 1, text.find("\n", end) + 1
        alone = line and rest and not (text[line:start] + text[comma or end : rest]).strip()
        if alone:
            kept = text[:line] if comma else _without_last_comma(text[:line])
            return kept + text[rest:]
        if comma:
            return text[:start] + text[comma:].lstrip(" \t")
        return _without_last_comma(text[:start]).rstrip(" \t") + text[end:]

    # ---- places ----

    def _index(self, statement: Statement) -> int:
        return self.statements.index(statement)

    def before(self, header: Statement) -> int:
        """Where something goes before a header: above the comments that belong to it."""
        index = self._index(header)
        while index > 0 and self.statements[index - 1].kind == "comment":
            index -= 1
        if index == 0:
            # A comment that opens the file is the file's, not the header's.
            return header.start
        return self.statements[index].start

    def blank_before(self, header: Statement) -> bool:
        """Whether a blank line stands above a header and its comments."""
        start = self.before(header)
        return any(s.kind == "blank" and s.end == start for s in self.statements)

    def follows_header(self, position: int) -> bool:
        """Whether a header or its comment begins at the position."""
        return any(self.before(h) == position or h.start == position for h in self.headers)

    def root_position(self) -> int:
        """Where a first key of the root goes: before the first table."""
        return self.before(self.headers[0]) if self.headers else len(self.text)

    def _section_end(self, header: Statement) -> int:
        """The end of a table's own lines: without blanks and the next table's comments."""
        later = self.headers[self.headers.index(header) + 1 :]
        limit = self.before(later[0]) if later else len(self.text)
        index = max(i for i, s in enumerate(self.statements) if s.end <= limit)
        while self.statements[index].kind == "blank":
            index -= 1
        return max(self.statements[index].end, header.end)

    def table_position(self, path: Path) -> tuple[int, Statement | None]:
        """Where a new table goes: behind its siblings, else its nearest relatives, else the end.

        Also a header near it, whose blank lines it imitates.
        """
        for length in range(len(path) - 1, 0, -1):
            related = [h for h in self.headers if starts_with(h.path, path[:length])]
            if related:
                siblings = [h for h in related if h.path[:-1] == path[:-1]]
                return self._section_end(related[-1]), (siblings or related)[-1]
        if self.headers:
            return self._section_end(self.headers[-1]), self.headers[-1]
        return len(self.text), None

    def spans_below(self, path: Path) -> list[tuple[int, int]]:
        """What has to go for a path to be gone: its values, its tables, one blank line above."""
        spans: list[tuple[int, int]] = []
        for statement in self.statements:
            if not statement.path or not starts_with(statement.path, path):
                continue
            if statement.kind == "value" and not starts_with(statement.table, path):
                spans.append((statement.start, statement.end))
            elif statement.kind in _HEADERS:
                spans.append(self._table_span(statement))
        return spans

    def _table_span(self, header: Statement) -> tuple[int, int]:
        end = self._section_end(header)
        index = self._index(header)
        blank_above = index > 0 and self.statements[index - 1].kind == "blank"
        blank_below = end == len(self.text) or any(
            s.kind == "blank" and s.start == end for s in self.statements
        )
        start = self.statements[index - 1].start if blank_above and blank_below else header.start
        return start, end
