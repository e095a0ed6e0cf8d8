"""Filters and tests on lists.

Lists made of lists are lists again (Ansible gives iterators and tuples), and sets keep the order
in which their values came (Ansible's have none).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import Environment
from jinja2.filters import do_unique
from jinja2.utils import pass_environment

from runner.playbook import limits


def _listed(name: str, value: Any) -> list[Any]:
    """The values of a list, tuple or iterator; a text or number is a mistake."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f"{name}: a list is expected, not {value!r}")
    return list(value)


class _Seen:
    """Values seen, found again by equality; fast for those that can be hashed."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.hashed: set[Any] = set()
        self.others: list[Any] = []
        for value in values:
            self.add(value)

    def add(self, value: Any) -> None:
        try:
            self.hashed.add(value)
        except TypeError:
            self.others.append(value)

    def __contains__(self, value: Any) -> bool:
        try:
            return value in self.hashed
        except TypeError:
            limits.spend(1 + len(self.others) // 100)
            return value in self.others


def _once(values: Iterable[Any]) -> list[Any]:
    seen, found = _Seen(), []
    for value in values:
        if value not in seen:
            seen.add(value)
            found.append(value)
    return found


@pass_environment
def unique(
    environment: Environment,
    values: Any,
    case_sensitive: bool | None = None,
    attribute: str | int | None = None,
) -> list[Any]:
    """The first of each equal value, in order. As in Ansible `A` and `a` are equal unless
    `case_sensitive`; lists and mappings are compared as they are."""
    values = _listed("unique", values)
    if attribute is None and (case_sensitive or not all(isinstance(v, str) for v in values)):
        return _unique_of_mixed(values, bool(case_sensitive))
    return list(do_unique(environment, values, bool(case_sensitive), attribute))


def _unique_of_mixed(values: list[Any], case_sensitive: bool) -> list[Any]:
    if case_sensitive or any(isinstance(value, list | Mapping) for value in values):
        return _once(values)
    seen, found = _Seen(), []
    for value in values:
        key = value.lower() if isinstance(value, str) else value
        if key not in seen:
            seen.add(key)
            found.append(value)
    return found


def union(first: Any, second: Any) -> list[Any]:
    return _once([*_listed("union", first), *_listed("union", second)])


def intersect(first: Any, second: Any) -> list[Any]:
    other = _Seen(_listed("intersect", second))
    return _once(value for value in _listed("intersect", first) if value in other)


def difference(first: Any, second: Any) -> list[Any]:
    other = _Seen(_listed("difference", second))
    return _once(value for value in _listed("difference", first) if value not in other)


def symmetric_difference(first: Any, second: Any) -> list[Any]:
    first, second = _listed("symmetric_difference", first), _listed("symmetric_difference", second)
    return _once([*difference(first, second), *difference(second, first)])


def flatten(values: Any, levels: int | None = None, skip_nulls: bool = True) -> list[Any]:
    """Lists inside lists made one list; `levels` of them. Null values (also "None" and "null")
    are left out unless `skip_nulls` is false."""
    found: list[Any] = []
    for value in _listed("flatten", values):
        if skip_nulls and (value is None or value in ("None", "null")):
            continue
        if isinstance(value, list | tuple) and (levels is None or levels >= 1):
            found += flatten(value, None if levels is None else levels - 1, skip_nulls)
        else:
            found.append(value)
    return found


def zipped(*lists: Any) -> list[list[Any]]:
    """The first of each list together, then the second of each; as many as the shortest has."""
    return [list(row) for row in zip(*(_listed_or_text("zip", v) for v in lists), strict=False)]


def zip_longest(*lists: Any, fillvalue: Any = None) -> list[list[Any]]:
    rows = itertools.zip_longest(
        *(_listed_or_text("zip_longest", v) for v in lists), fillvalue=fillvalue
    )
    return [list(row) for row in rows]


def _listed_or_text(name: str, value: Any) -> list[Any]:
    """As `_listed`, where Ansible takes a text for the list of its letters."""
    return list(value) if isinstance(value, str) else _listed(name, value)


def product(*lists: Any, repeat: int = 1) -> list[list[Any]]:
    """Every combination of one value of each list."""
    found = [_listed_or_text("product", value) for value in lists]
    limits.check_count(math.prod(len(v) for v in found) ** min(repeat, 64), "product")
    return [list(row) for row in itertools.product(*found, repeat=repeat)]


def combinations(values: Any, r: int) -> list[list[Any]]:
    """Every choice of `r` of the values, in order."""
    found = _listed_or_text("combinations", values)
    if min(r, len(found) - r) > 20:  # more than 10 ** 11; the exact number takes long to count
        limits.check_count(limits.MAX_RANGE + 1, "combinations")
    limits.check_count(math.comb(len(found), r), "combinations")
    return [list(row) for row in itertools.combinations(found, r)]


def permutations(values: Any, r: int | None = None) -> list[list[Any]]:
    """Every order of `r` (default all) of the values."""
    found = _listed_or_text("permutations", values)
    limits.check_count(len(found), "permutations")
    chosen = len(found) if r is None else r
    if 10 < chosen <= len(found):  # more than 10 ** 7; the exact number takes long to count
        limits.check_count(limits.MAX_RANGE + 1, "permutations")
    limits.check_count(math.perm(len(found), chosen), "permutations")
    return [list(row) for row in itertools.permutations(found, chosen)]


@pass_environment
def subelements(
    environment: Environment, values: Any, subelements: Any, skip_missing: bool = False
) -> list[list[Any]]:
    """Each mapping of a list with each item of a list inside it (`subelements`: "a.b" or a list
    of keys)."""
    rows = list(values.values()) if isinstance(values, Mapping) else _listed("subelements", values)
    keys = subelements.split(".") if isinstance(subelements, str) else list(subelements)
    found: list[list[Any]] = []
    for row in rows:
        inner = _inside(row, keys, skip_missing)
        if not isinstance(inner, list):
            raise ValueError(f"subelements: {'.'.join(keys)} is no list but {inner!r}")
        found += [[row, item] for item in inner]
    return found


def _inside(row: Any, keys: list[str], skip_missing: bool) -> Any:
    for key in keys:
        if not isinstance(row, Mapping):
            raise ValueError(f"subelements: {key} is looked for in {row!r}, which is no mapping")
        if key not in row:
            if skip_missing:
                return []
            raise ValueError(f"subelements: there is no key {key!r} in {row!r}")
        row = row[key]
    return row


@pass_environment
def extract(environment: Environment, key: Any, container: Any, morekeys: Any = None) -> Any:
    """What stands at `key` of a mapping or list, and at `morekeys` below it. For `map`."""
    more = morekeys if isinstance(morekeys, list) else [] if morekeys is None else [morekeys]
    for step in (key, *more):
        container = environment.getitem(container, step)
    return container


@pass_environment
def total(environment: Environment, values: Any, attribute: Any = None, start: Any = 0) -> Any:
    """`sum`: of numbers; with `start=[]` of lists (as `flatten(levels=1)`)."""
    from jinja2.filters import sync_do_sum

    if not isinstance(start, list | tuple):
        return sync_do_sum(environment, values, attribute, start)
    found = list(start)
    for value in values:
        inner = value if attribute is None else environment.getitem(value, attribute)
        found += inner
        limits.check_length(len(found))
    return found


def contains(values: Any, value: Any) -> bool:
    return value in values


def subset(values: Any, other: Any) -> bool:
    known = _Seen(_listed("subset", other))
    return all(value in known for value in _listed("subset", values))


def superset(values: Any, other: Any) -> bool:
    return subset(other, values)


FILTERS: dict[str, Callable[..., Any]] = {
    "combinations": combinations,
    "difference": difference,
    "extract": extract,
    "flatten": flatten,
    "intersect": intersect,
    "permutations": permutations,
    "product": product,
    "subelements": subelements,
    "sum": total,
    "symmetric_difference": symmetric_difference,
    "union": union,
    "unique": unique,
    "zip": zipped,
    "zip_longest": zip_longest,
}
TESTS: dict[str, Callable[..., bool]] = {
    "all": all,
    "any": any,
    "contains": contains,
    "issubset": subset,
    "issuperset": superset,
    "subset": subset,
    "superset": superset,
}
