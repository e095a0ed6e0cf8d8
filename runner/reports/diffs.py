"""The difference of a file as text and by keys, for terminal, JSON and journal. Pure."""

from __future__ import annotations

import difflib
import json
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from runner.modules.base import FileDiff, Refused
from runner.modules.files.data import check_size, same
from runner.secrets.previous import without_previous
from runner.secrets.redact import KNOWN

if TYPE_CHECKING:
    from runner.modules.files.summary import KeyChange

ALIKE = 0.5
"""How similar two lines are, at least, that are shown as one that changed."""
MOST_COMPARED = 2_000
"""Pairs of lines of one place that are compared for that; a larger place was written anew."""
LONGEST_COMPARED = 500
"""Characters of a line that is compared for that."""
LARGEST_DOCUMENT = 64 * 1024
"""Characters of a document that is compared by its keys."""

_FORMS = {".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}


def diff_text(diff: FileDiff) -> str:
    """A unified diff with mode and owner in the same block, and with what is not to be seen."""
    notes = [_attribute(*attribute) for attribute in diff.attributes]
    if diff.sensitive:
        return "\n".join([*notes, "(content not shown: the file is readable by its owner only)"])
    if diff.note:
        notes.append(f"({diff.note})")
    old, new = _without_secrets(diff)
    notes += _notes(diff)
    if old == new and diff.before != diff.after:
        notes.append("(only the value of a secret differs)")
    return "\n".join([*notes, *_hunks(diff.path, old, new)])


@lru_cache(maxsize=64)  # the same on many hosts, and asked for several times of each
def _hunks(path: str, old: str | None, new: str | None) -> tuple[str, ...]:
    names = (
        f"{path} (before)" if old is not None else "/dev/null",
        f"{path} (after)" if new is not None else "/dev/null",
    )
    unified = difflib.unified_diff(_lines(old), _lines(new), *names, lineterm="")
    return tuple(_made_visible(list(unified)))


def _attribute(name: str, before: str, after: str) -> str:
    if name == "mode":
        before, after = (f"{each} ({_symbolic(each)})" for each in (before, after))
    return f"{name}: {before} -> {after}"


def _symbolic(mode: str) -> str:
    """As `ls -l` shows a mode, without the type."""
    return stat.filemode(int(mode, 8))[1:]


def _without_secrets(diff: FileDiff) -> tuple[str | None, str | None]:
    """Before and after without the secret, and without the one that stood in its place."""
    before = None if diff.before is None else KNOWN(diff.before)
    after = None if diff.after is None else KNOWN(diff.after)
    if before is not None and after is not None and after != diff.after:
        before = without_previous(before, after)
    return before, after


# -- what cannot be seen ----------------------------------------------------------------------

_SURROGATE = re.compile("[\udc80-\udcff]")


def _notes(diff: FileDiff) -> list[str]:
    """Differences of the whole file that its lines do not show, or not well."""
    if diff.before is None or diff.after is None:
        return []
    pairs = zip(_kind_of_text(diff.before), _kind_of_text(diff.after), strict=True)
    notes = [f"{name}: {old} -> {new}" for (name, old), (_, new) in pairs if old != new and old]
    documents = _documents(_form(diff), diff.before, diff.after)
    if documents and diff.before != diff.after and same(*documents):
        notes.append("(keys and values are the same: comments, order or layout differ)")
    return notes


def _kind_of_text(text: str) -> tuple[tuple[str, str], ...]:
    """(name, value) of what holds for the whole text."""
    return (
        ("line ends", _line_ends(text)),
        ("byte order mark", "yes" if text.startswith("\ufeff") else "none"),
        ("encoding", "not UTF-8" if _SURROGATE.search(text) else "UTF-8"),
    )


def _line_ends(text: str) -> str:
    windows, all_ends = text.count("\r\n"), text.count("\n")
    return "LF" if not windows else "CRLF" if windows == all_ends else "LF and CRLF"


def _lines(text: str | None) -> list[str]:
    """Lines; that the newline of the last is missing is one of its own."""
    if text is None:
        return []
    lines = text.split("\n")
    if lines[-1] == "":
        return lines[:-1]
    return [*lines, "\\ no newline at end of file"]


def _made_visible(unified: Sequence[str]) -> list[str]:
    """Trailing blanks, CR, unusual blanks and broken bytes as signs; all blanks where only they
    differ."""
    start = next((n for n, line in enumerate(unified) if line.startswith("@@")), len(unified))
    blanks = {
        number
        for pair in paired(unified, start)
        for number in pair
        if _solid(unified[pair[0]]) == _solid(unified[pair[1]])
    }
    return [
        line[:1] + _visible(line[1:], number in blanks) if number >= start else line
        for number, line in enumerate(unified)
    ]


def _solid(line: str) -> str:
    """A line of a diff without its sign and its blanks."""
    return "".join(line[1:].split())


def _visible(line: str, all_blanks: bool) -> str:
    carriage = line.endswith("\r")
    line = line.removesuffix("\r")
    bare = "" if all_blanks else line.rstrip(" \t")
    blanks = line[len(bare) :].replace(" ", "·").replace("\t", "→")
    shown = bare + blanks + ("␍" if carriage else "")
    return shown if shown.isascii() else "".join(map(_sign, shown))


def _sign(character: str) -> str:
    if _SURROGATE.match(character):  # a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) == "Zs" and character != " ":
        return f"\\u{ord(character):04x}"
    return character


# -- lines that changed -----------------------------------------------------------------------


def paired(unified: Sequence[str], start: int) -> Iterator[tuple[int, int]]:
    """The numbers of lines that were removed and of those that came in their place.

    Args:
        unified: a unified diff.
        start: number of its first hunk's line.
    """
    number = start
    while number < len(unified):
        removed = _run(unified, number, "-")
        added = _run(unified, removed.stop, "+")
        yield from _matched(unified, removed, added)
        number = max(added.stop, number + 1)


def _run(unified: Sequence[str], first: int, sign: str) -> range:
    end = first
    while end < len(unified) and unified[end].startswith(sign):
        end += 1
    return range(first, end)


def _matched(unified: Sequence[str], removed: range, added: range) -> Iterator[tuple[int, int]]:
    if len(removed) * len(added) > MOST_COMPARED:
        return
    first = added.start
    for old in removed:
        for new in range(first, added.stop):
            if _alike(unified[old], unified[new]):
                yield old, new
                first = new + 1
                break


def _alike(old: str, new: str) -> bool:
    if _solid(old) == _solid(new):
        return True
    if max(len(old), len(new)) > LONGEST_COMPARED:
        return False
    matcher = difflib.SequenceMatcher(None, old[1:], new[1:], autojunk=False)
    return matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE


# -- keys -------------------------------------------------------------------------------------


def changed_keys(diff: FileDiff) -> list[dict[str, str]]:
    """The keys of a TOML, JSON or YAML document that differ; [] where that is not known."""
    if diff.sensitive or diff.before is None or diff.after is None:
        return []
    old, new = _without_secrets(diff)
    return [asdict(change) for change in _key_changes(_form(diff), old or "", new or "")]


@lru_cache(maxsize=64)
def _key_changes(form: str, before: str, after: str) -> tuple[KeyChange, ...]:
    from runner.modules.files.summary import key_changes

    documents = _documents(form, before, after)
    return tuple(key_changes(*documents, _value)) if documents else ()


def _form(diff: FileDiff) -> str:
    return diff.form or _FORMS.get(PurePosixPath(diff.path).suffix, "")


@lru_cache(maxsize=64)
def _documents(form: str, before: str, after: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    if not form or max(len(before), len(after)) > LARGEST_DOCUMENT:
        return None
    try:
        return _parse(form, before), _parse(form, after)
    except (Refused, ValueError, RecursionError):
        return None


def _parse(form: str, text: str) -> dict[str, Any]:
    if form == "toml":
        import tomllib

        table = tomllib.loads(text)
        check_size(table, "")
        return table
    if form == "json":
        from runner.modules.files.json_edit import JsonEdits

        return JsonEdits().parse(text, "")
    return _yaml(text)


def _yaml(text: str) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    if not isinstance(data, dict):
        raise ValueError("no mapping")
    check_size(data, "")
    return data


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
