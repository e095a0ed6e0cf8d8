"""Names that expressions have beside variables: `range`, `dict`, `namespace`, `lookup`, `omit`."""

from __future__ import annotations

from typing import Any

from jinja2.utils import Namespace

from runner.playbook import limits
from runner.playbook.lookups import LOOKUP, QUERY


def limited_range(*arguments: int) -> range:
    """Python's range, up to 100,000 numbers."""
    result = range(*arguments)
    limits.check_count(len(result), "range")
    return result


def mapping(*pairs: Any, **values: Any) -> dict[Any, Any]:
    """A mapping of pairs and of names with values. (Python's own `dict` would also hand out its
    methods, which change mappings.)"""
    return dict(*pairs, **values)


class Omit:
    """`default(omit)`: the argument, key or item that has this value is left out."""

    def __str__(self) -> str:
        raise ValueError("omit leaves out a whole argument; it cannot be part of a text")

    __repr__ = __str__


OMIT = Omit()

FUNCTIONS: dict[str, Any] = {
    "dict": mapping,
    "lookup": LOOKUP,
    "namespace": Namespace,
    "omit": OMIT,
    "q": QUERY,
    "query": QUERY,
    "range": limited_range,
}
