"""The former value of a secret in a file: what it was nobody knows, but where it stood."""

from __future__ import annotations

import re

_MARK = re.compile("«secret:[^»]*»")
_KEY = re.compile(r"([\w.-]+)[\"']?\s*[:=]\s*[\"']?$")


def without_previous(before: str, after: str) -> str:
    """The text before a change without what stood in a secret's place.

    A line like one of `after` but for the secret loses that part, and so does one with the same key
    before it. If no line is like it, no line that goes is shown.

    Args:
        before: a file's text, known secrets taken out.
        after: its text to be, with marks in place of secrets.
    """
    kept = set(after.splitlines())
    lines = before.splitlines(keepends=True)
    for line in dict.fromkeys(line for line in after.splitlines() if _MARK.search(line)):
        if line in before.splitlines():
            continue
        hidden = [each if each.rstrip("\r\n") in kept else _hidden(each, line) for each in lines]
        lines = hidden if hidden != lines else [_all(each, line, kept) for each in lines]
    return "".join(lines)


def _hidden(line: str, like: str) -> str:
    """A line of the old text without what stands where `like` has a secret."""
    text = line.rstrip("\r\n")
    end = line[len(text) :]
    literals, marks = _MARK.split(like), _MARK.findall(like)
    match = re.fullmatch("(.+)".join(map(re.escape, literals)), text)
    if match:
        shown = "".join(
            literal + _former(mark) for literal, mark in zip(literals, marks, strict=False)
        )
        return shown + literals[-1] + end
    for literal, mark in zip(literals, marks, strict=False):
        key = _KEY.search(literal)
        same = key and re.search(rf"(?<![\w.-]){re.escape(key[1])}[\"']?\s*[:=]\s*", text)
        if same:
            return text[: same.end()] + _former(mark) + end
    return line


def _all(line: str, like: str, kept: set[str]) -> str:
    text = line.rstrip("\r\n")
    found = _MARK.search(like)
    if text in kept or not text.strip() or not found:
        return line
    return _former(found[0]) + line[len(text) :]


def _former(mark: str) -> str:
    return f"{mark.removesuffix('»')}, before»"
