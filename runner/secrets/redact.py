"""Secrets are taken out by value, in every sink.

All forms of all secrets become one regular expression, which is searched in the text as it is and
in the text with its line breaks taken out: what was folded is found as well.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SHORTEST = 4
"""Shorter values are not replaced: they would hide half of every text and protect nothing."""
SHORTEST_FOLDED = 8
"""A shorter form is not looked for across line breaks, where chance would find it."""

_FOLDS = tuple(
    (re.compile(pattern), joint)
    for pattern in (r"\\?\r?\n[ \t]*", r"\r?\n[-+ ][ \t]*", r"(?:\\r)?\\n[ \t]*")
    for joint in ("", " ")
)
"""Line breaks with indentation, with a diff's sign, and written as text; with what they stand for:
nothing, or a blank."""
_QUOTING = re.compile(r"\\+")
"""Text that was quoted several times has any number of backslashes."""

Span = tuple[int, int, str]


def mark(name: str) -> str:
    """What is shown in a secret's place."""
    return f"«secret:{name}»"


class Redactor:
    """Replaces every form of each secret, wherever it stands, by its name. Secrets may be added as
    they become known, before anything that could hold them is shown. Usable from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._sought: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._has_blank = False
        self.short: set[str] = set()
        """Names of secrets that are too short to be taken out."""

    def add(self, secret: str | None, name: str, *, everyday: bool = False) -> None:
        """Take this out as well.

        Args:
            name: shown in its place.
            everyday: it may be an ordinary word ("ubuntu"): `all_in` does not look for it.
        """
        if not secret:
            return
        from runner.secrets.forms import forms

        if len(secret.strip()) < SHORTEST:
            self.short.add(name)
        shown = mark(name)
        with self._lock:
            known = {form: self._names.get(form, shown) for form in forms(secret)}
            self._has_blank = self._has_blank or any(" " in form for form in known)
            known[shown] = shown  # what was taken out once stays as it is
            self._names |= known
            if not everyday:
                self._sought.add(shown)
            self._pattern = None

    def forget(self) -> None:
        """Know no secret any more."""
        with self._lock:
            self._names, self._sought = {}, set()
            self._pattern, self._has_blank = None, False
            self.short = set()

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        pieces, position = [], 0
        for start, end, shown in _merged(self._found(text)):
            pieces += [text[position:start], shown]
            position = end
        return "".join([*pieces, text[position:]]) if pieces else text

    def all_in(self, text: str) -> set[str]:
        """The secrets that stand in the text, as they are shown, everyday words left out."""
        return {shown for *_, shown in self._found(text)} & self._sought

    def found_in(self, text: str) -> str:
        """The first of `all_in` by name; "" without one."""
        return min(self.all_in(text), default="")

    def data(self, value: Any) -> Any:
        """Plain data without secrets, at any depth; what is no plain data as text, if it held one.

        A number is replaced when it is written like a secret.
        """
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {self.data(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        text = str(value)
        shown = self(text)
        return value if shown == text else shown

    def _found(self, text: str) -> Iterator[Span]:
        pattern = self._compiled()
        if pattern is None:
            return
        for match in pattern.finditer(text):
            yield match.start(), match.end(), self._names[match[0]]
        if "\\" in text:
            yield from self._folded(text, pattern, _QUOTING, "")
        if "\n" in text or "\\n" in text:
            for fold, joint in _FOLDS:
                if joint and not self._has_blank:
                    continue
                yield from self._folded(text, pattern, fold, joint)

    def _folded(
        self, text: str, pattern: re.Pattern[str], fold: re.Pattern[str], joint: str
    ) -> Iterator[Span]:
        """What is found once the folds are replaced by the joint, at its place in the text."""
        parts, joined_at, text_at = [], [0], [0]
        position = length = 0
        for match in fold.finditer(text):
            parts += [text[position : match.start()], joint]
            length += match.start() - position + len(joint)
            position = match.end()
            joined_at.append(length)
            text_at.append(position)
        if len(joined_at) == 1:
            return
        joined = "".join([*parts, text[position:]])
        for match in pattern.finditer(joined):
            first = bisect_right(joined_at, match.start()) - 1
            last = bisect_right(joined_at, match.end() - 1) - 1
            if first == last or match.end() - match.start() < SHORTEST_FOLDED:
                continue
            start = text_at[first] + match.start() - joined_at[first]
            end = text_at[last] + match.end() - joined_at[last]
            yield start, end, self._names[match[0]]

    def _compiled(self) -> re.Pattern[str] | None:
        with self._lock:
            if self._pattern is None and self._names:
                self._pattern = re.compile(_alternatives(sorted(self._names)))
            return self._pattern


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that overlap as one."""
    found: list[Span] = []
    for start, end, shown in sorted(spans, key=lambda span: (span[0], -span[1])):
        if found and start < found[-1][1]:
            first, last, name = found.pop()
            found.append((first, max(last, end), name))
        else:
            found.append((start, end, shown))
    return found


def _alternatives(texts: list[str]) -> str:
    """A pattern for the longest of the texts (sorted, no two equal), with what their beginnings
    share written once: its time does not grow with their number."""
    shortest = min(len(texts[0]), len(texts[-1]))
    same = (n for n in range(shortest) if texts[0][n] != texts[-1][n])
    common = texts[0][: next(same, shortest)]
    rest = [text[len(common) :] for text in texts]
    beginning = re.escape(common)
    if len(rest) == 1:
        return beginning
    groups: dict[str, list[str]] = {}
    for text in rest:
        if text:
            groups.setdefault(text[0], []).append(text)
    inner = "|".join(_alternatives(group) for group in groups.values())
    return f"{beginning}(?:{inner}){'?' if '' in rest else ''}"


KNOWN = Redactor()
"""Every secret this process has read. There is one, so that no way out is without it: also the last
handler of errors, which nobody hands anything."""
