"""What can be wrong with one field, as causes of a 422 (field.Error of apimachinery)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runner.lab.kube.failures import cause, invalid_value, unsupported
from runner.lab.kube.golang import quoted
from runner.lab.kube.kinds import Json
from runner.lab.kube.names import Rule


def required(field: str, why: str = "") -> Json:
    return cause("FieldValueRequired", "Required value" + (f": {why}" if why else ""), field)


def wrong(field: str, value: object, why: str) -> Json:
    return invalid_value(field, quoted(value), why)


def duplicate(field: str, value: object, why: str = "") -> Json:
    text = f"Duplicate value: {quoted(value)}" + (f": {why}" if why else "")
    return cause("FieldValueDuplicate", text, field)


def forbidden(field: str, why: str) -> Json:
    return cause("FieldValueForbidden", f"Forbidden: {why}", field)


def missing(field: str, value: object) -> Json:
    return cause("FieldValueNotFound", f"Not found: {quoted(value)}", field)


def named(field: str, text: str, rule: Rule) -> Iterator[Json]:
    """What a rule for names says of a text."""
    return (wrong(field, text, why) for why in rule(text))


def required_name(field: str, text: str | None, rule: Rule) -> Iterator[Json]:
    """The same of a text that has to be there."""
    return named(field, text, rule) if text else iter([required(field)])


def one_of(field: str, value: str | None, supported: Sequence[str]) -> Iterator[Json]:
    """A choice; nothing chosen is for others to judge."""
    if value and value not in supported:
        yield unsupported(field, value, supported)


def unique(field: str, names: Iterable[str]) -> Iterator[Json]:
    """Names of a list's elements that are there already: `spec.containers[1].name`."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield duplicate(f"{field}[{index}].name", name)
        seen.add(name)


def at_least(field: str, value: int | None, least: int) -> Iterator[Json]:
    if value is not None and value < least:
        yield wrong(field, value, f"must be greater than or equal to {least}")
