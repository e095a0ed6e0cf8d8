"""What a template comes to before any host is known, and what of it has to wait for one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.errors import Origin
from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.functions import FUNCTIONS
from runner.playbook.templates import NotYetKnown, expressions, names, render


class NotKnownYet(Exception):
    """The value depends on a host: `name` is the variable that is not known while loading."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def known_value(value: Any, known: Mapping[str, Any], origin: Origin | None) -> Any:
    """The value with its templates evaluated.

    Raises:
        NotKnownYet: it uses a variable that is not in `known`, at any depth.
        TemplateProblem: the template fails.
    """
    _check_known(value, known, ())
    try:
        return render(value, known, origin)
    except NotYetKnown as error:
        raise NotKnownYet(str(error)) from None


def _check_known(value: Any, known: Mapping[str, Any], inside: tuple[str, ...]) -> None:
    for name in sorted({name.partition(".")[0] for name in names(value)}):
        if name in FUNCTIONS or name in inside:
            continue
        if name not in known:
            raise NotKnownYet(name)
        if isinstance(known[name], TemplateText | Map | Seq):
            _check_known(known[name], known, (*inside, name))


@dataclass(frozen=True, slots=True)
class Name:
    """A file's name as far as it is known while loading.

    Args:
        parts: texts that are known, and `None` for each that a host decides.
        expression: gives the whole name on a host; "" when it is known.
    """

    parts: tuple[str | None, ...]
    expression: str = ""

    @property
    def text(self) -> str:
        """The whole name; for one that is not known a pattern with `*`."""
        return "".join("*" if part is None else part for part in self.parts)

    def is_(self, name: str) -> str:
        """The condition that the name is this one on a host; "" when it is known."""
        return f"{self.expression} == {json.dumps(name)}" if self.expression else ""


def file_name(text: str, known: Mapping[str, Any], origin: Origin | None) -> Name:
    """What is known of a file's name.

    Raises:
        TemplateProblem: the template fails.
        ValueError: it holds a statement (`{% %}`), of which no pattern can be made.
    """
    parts: list[str | None] = []
    wanted: list[str] = []
    for literal, expression in expressions(text):
        part = literal
        if expression:
            try:
                part = str(known_value(TemplateText("{{" + expression + "}}"), known, origin))
            except NotKnownYet:
                parts.append(None)
                wanted.append(f"({expression.strip()})")
                continue
        parts.append(part)
        wanted.append(json.dumps(part))
    if None not in parts:
        return Name(tuple(parts))
    return Name(tuple(parts), " ~ ".join(wanted))


def known_items(items: Sequence[Any], known: Mapping[str, Any], origin: Origin | None) -> list[Any]:
    """The items of a list, each evaluated if that can be done now."""
    made = []
    for item in items:
        try:
            made.append(known_value(item, known, origin))
        except NotKnownYet:
            made.append(item)
    return made
