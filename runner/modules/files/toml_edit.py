"""Edits of a TOML text that leave every other byte as it was.

tomlkit keeps comments, but not the layout around what it inserts (indentation, blank lines and
comments before the next table), and it cannot write into some legal documents (tables out of
order, dotted tables). So values are written by tomlkit, and their place is found here. Every
result is parsed again and compared with the merge of the parsed inputs: an edit that would mean
anything else is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit

from runner.modules.base import Refused
from runner.modules.files import data
from runner.modules.files.data import Keys, check_kinds, find, merge, missing_items, same
from runner.modules.files.toml_layout import Statement
from runner.modules.files.toml_style import Style, inline, starts_with


def parse(text: str, name: str = "the file") -> dict[str, Any]:
    """The parsed document; `Refused` names line and column of a mistake."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{name} is not valid TOML: {error}; nothing was changed") from None


def edit(
    text: str,
    *,
    wanted: Mapping[str, Any] | None = None,
    remove: Sequence[Keys] = (),
    append: Mapping[Keys, Sequence[Any]] | None = None,
    take: Mapping[Keys, Sequence[Any]] | None = None,
    name: str = "the file",
) -> str:
    """The text with keys removed, then set, then values appended to arrays where they are missing.

    A text whose last line has no end keeps it so.

    Args:
        wanted: merged into the document: tables by key, all else replaced.
        remove: paths; those that do not exist are fine.
        append: path of an array -> values it must hold.
        take: path of an array -> values it may not hold, which are taken out.

    Raises:
        Refused: the text is not TOML, a table stands where a value is wanted (or the reverse), or
            the document is laid out so that no edit gives the wanted meaning.
    """
    expected = parse(text, name)
    unended = text != "" and not text.endswith("\n")
    for keys in remove:
        text = _removed(text, keys)
        data.remove(expected, keys)
    if wanted:
        check_kinds(expected, wanted, name)
        text = _merged(text, (), wanted)
        merge(expected, wanted)
    for keys, values in (append or {}).items():
        for value in missing_items(expected, keys, values, name):
            text = _appended(text, keys, value)
            data.append(expected, keys, value)
    for keys, values in (take or {}).items():
        for value in values:
            text = _without_item(text, keys, value)
            data.take(expected, keys, value)
    try:
        understood = same(_pruned(tomllib.loads(text), remove), _pruned(expected, remove))
    except tomllib.TOMLDecodeError:
        understood = False
    if not understood:
        raise Refused(f"{name} is laid out in a way that cannot be edited safely; edit it by hand")
    return text.removesuffix("\n").removesuffix("\r") if unended else text


def _pruned(document: dict[str, Any], removed: Sequence[Keys]) -> dict[str, Any]:
    """Without the tables that are empty because all in them was removed (implicit tables go)."""
    for keys in removed:
        for length in range(len(keys) - 1, 0, -1):
            if find(document, keys[:length]) == {}:
                data.remove(document, keys[:length])
    return document


# ---- text ------------------------------------------------------------------------------------


def _merged(text: str, above: Keys, wanted: Mapping[str, Any]) -> str:
    document = tomllib.loads(text)
    for key, value in wanted.items():
        path = (*above, key)
        there = find(document, path)
        before = text
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            text = _merged(text, path, value)
        elif there is None or not same(there, value):
            text = _set(text, path, value)
        if text is not before:
            document = tomllib.loads(text)
    return text


def _set(text: str, path: Keys, value: Any) -> str:
    """One value, or one table that does not exist yet."""
    style = Style(text)
    holder = _holder(style.statements, path)
    if holder is not None:
        new = style.value(value, text[holder.value_start : holder.value_end])
        if holder.path != path:
            new = _inside(text, holder, path[len(holder.path) :], value)
        return text[: holder.value_start] + new + text[holder.value_end :]
    above = path[:-1]
    while above and find(tomllib.loads(text), above) is None:
        above = above[:-1]
    dotted = [s for s in style.statements if _dotted_below(s, above)]
    if dotted:
        return _insert(text, dotted[-1].end, style.dotted(dotted[-1], above, path, value))
    rest = path[len(above) :]
    if len(rest) > 1 or isinstance(value, Mapping):
        for key in reversed(path[len(above) + 1 :]):
            value = {key: value}
        return _new_table(text, style, (*above, rest[0]), value)
    return _new_value(text, style, path, value)


def _holder(statements: Sequence[Statement], path: Keys) -> Statement | None:
    """The statement that holds the value at `path`, or the inline table that it is in."""
    return next(
        (s for s in statements if s.kind == "value" and s.path == path[: len(s.path)]), None
    )


def _dotted_below(statement: Statement, table: Keys) -> bool:
    """The statement defines `table` by a dotted key, so that no header may."""
    return (
        statement.kind == "value"
        and len(statement.table) < len(table) < len(statement.path)
        and starts_with(statement.path, table)
    )


def _inside(text: str, holder: Statement, keys: Keys, value: Any) -> str:
    """An inline table's text with one value set."""
    document = tomlkit.parse("x = " + text[holder.value_start : holder.value_end])
    table: Any = document["x"]
    for key in keys[:-1]:
        if key not in table:
            table[key] = tomlkit.inline_table()
        table = table[key]
    table[keys[-1]] = tomlkit.value(inline(value))
    return str(document["x"].as_string())


def _new_value(text: str, style: Style, path: Keys, value: Any) -> str:
    table = path[:-1]
    section = [s for s in style.statements if s.table == table and s.kind == "value"]
    header = next((s for s in style.statements if s.kind == "table" and s.path == table), None)
    if section:
        return _insert(text, section[-1].end, style.assignment(section[0].indent, path[-1], value))
    if header:
        indent = header.indent + style.value_indent
        return _insert(text, header.end, style.assignment(indent, path[-1], value))
    line = style.assignment("", path[-1], value)
    if not table:
        position = style.root_position()
        gap = style.newline if style.follows_header(position) else ""
        return _insert(text, position, line + gap)
    # A table that exists only as part of longer headers: it gets its own, before the first.
    first = next(s for s in style.statements if starts_with(s.path, table))
    place = style.before(first)
    block = style.table(table, {path[-1]: value}, first.indent)
    gap = style.newline if style.blank_before(first) else ""
    return _insert(text, place, block + gap)


def _new_table(text: str, style: Style, path: Keys, value: Mapping[str, Any]) -> str:
    position, neighbour = style.table_position(path)
    indent = style.header_indent(path)
    # The first table of a file of plain values is set off from them.
    gap = position > 0 and (neighbour is None or style.blank_before(neighbour))
    block = style.table(path, value, indent, style.newline if gap else "")
    return _insert(text, position, (style.newline if gap else "") + block)


def _insert(text: str, position: int, addition: str) -> str:
    before = text[:position]
    newline = "\r\n" if "\r\n" in text else "\n"
    if before and not before.endswith("\n"):
        before += newline
    return before + addition + text[position:]


def _appended(text: str, keys: Keys, value: Any) -> str:
    style = Style(text)
    holder = _holder(style.statements, keys)
    if holder is None or holder.path != keys:
        present = find(tomllib.loads(text), keys) or []
        return _set(text, keys, [*present, value])
    return (
        text[: holder.value_start]
        + style.longer_array(text[holder.value_start : holder.value_end], value)
        + text[holder.value_end :]
    )


def _without_item(text: str, keys: Keys, value: Any) -> str:
    while True:
        present = find(tomllib.loads(text), keys)
        items = present if isinstance(present, list) else []
        number = next((n for n, item in enumerate(items) if same(item, value)), None)
        if number is None:
            return text
        style = Style(text)
        holder = _holder(style.statements, keys)
        if holder is None or holder.path != keys:
            text = _set(text, keys, [item for item in items if not same(item, value)])
        else:
            array = text[holder.value_start : holder.value_end]
            shorter = style.shorter_array(array, number)
            text = text[: holder.value_start] + shorter + text[holder.value_end :]


def _removed(text: str, keys: Keys) -> str:
    if find(tomllib.loads(text), keys) is None:
        return text
    style = Style(text)
    holder = _holder(style.statements, keys)
    if holder is not None and holder.path != keys:
        document = tomlkit.parse("x = " + text[holder.value_start : holder.value_end])
        table: Any = document["x"]
        for key in keys[len(holder.path) : -1]:
            table = table[key]
        del table[keys[-1]]
        new = str(document["x"].as_string())
        return text[: holder.value_start] + new + text[holder.value_end :]
    for start, end in reversed(style.spans_below(keys)):
        text = text[:start] + text[end:]
    return text
