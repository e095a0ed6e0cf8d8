"""What an edit of containerd's configuration adds beside the runtime, so that it can go with it.

The default where none was named, the header of its table, the built-in runtime written out, the
version of an empty file: each gets a comment, and goes with the runtime. A default without this
comment is given back to the runtime that ours is a copy of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.modules.containerd_config import Keys, cri_plugin, source_of, version_of
from runner.modules.files.data import find
from runner.modules.files.toml_edit import edit, parse
from runner.modules.files.toml_layout import Statement, scan

_VERSION = ("version",)
_DEFAULT = "default_runtime_name"
_ADDED = "  # added by gpurun"
_MADE = "  # made by gpurun"
"""Beside the version of a file that was not there before."""


def marked(before: str | None, after: str, name: str) -> str:
    """The text of an edit that added the runtime of that name, with the comments.

    Args:
        before: None: there was no file.
    """
    known = {(each.kind, each.path) for each in scan(before or "")}
    containerd = _containerd(parse(after))
    runtime = (*containerd, "runtimes", name)
    for each in reversed(scan(after)):
        if (each.kind, each.path) in known or each.path[: len(runtime)] == runtime:
            continue
        if each.kind == "table" or each.path in (_VERSION, (*containerd, _DEFAULT)):
            comment = _MADE if before is None and each.path == _VERSION else _ADDED
            end = each.start + len(after[each.start : each.end].rstrip("\r\n"))
            after = after[:end] + comment + after[end:]
    return after


def default_before(text: str, name: str) -> str:
    """The default that a runtime has taken the place of: the one it is a copy of.

    "": that is not known, or there was none.
    """
    data = parse(text)
    containerd = _containerd(data)
    keys = (*containerd, _DEFAULT)
    if find(data, keys) != name or keys in {each.path for each in _added(text)}:
        return ""
    return source_of(find(data, (*containerd, "runtimes")) or {}, name)


def _containerd(data: Mapping[str, Any]) -> Keys:
    return ("plugins", cri_plugin(version_of(data)), "containerd")


def unmarked(text: str, name: str) -> str | None:
    """The text of a file without the runtime, and without what was added for it.

    None: the file was made for it, and nothing else is in it.
    """
    data = parse(text, name)
    above = (*_containerd(data), "runtimes")
    runtimes = find(data, above) or {}
    if len(runtimes) == 1:  # the built-in one is there without being written out
        (last,) = runtimes
        if (*above, last) in {each.path for each in _added(text)}:
            text = edit(text, remove=[(*above, last)], name=name)
    text = _without_empty_headers(text)
    if parse(text).keys() == {"version"} and (versions := list(_added(text))):
        (version,) = versions
        if _MADE in text[version.start : version.end] and not text[version.end :].strip():
            return None
        text = text[: version.start] + text[version.end :]
    return text


def _added(text: str) -> Iterator[Statement]:
    for each in scan(text):
        line = text[each.start : each.end].rstrip("\r\n")
        if each.kind in ("table", "value") and line.endswith((_ADDED, _MADE)):
            yield each


def _without_empty_headers(text: str) -> str:
    for header in reversed([each for each in _added(text) if each.kind == "table"]):
        if find(parse(text), [str(key) for key in header.path]) == {}:
            text = edit(text, remove=[tuple(str(key) for key in header.path)])
            continue
        rest = scan(text[header.end :])
        first = next((each for each in rest if each.kind != "blank"), None)
        if first is None or first.kind == "table":
            blank = rest[0].end if rest and rest[0].kind == "blank" else 0
            text = text[: header.start] + text[header.end + blank :]
    return text
