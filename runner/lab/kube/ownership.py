"""Who owns which field (metadata.managedFields), and server-side apply built on it.

A field is a path: plain keys, and for lists joined by a key the element's key. Lists without such
a key are owned whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runner.lab.kube.failures import apply_conflict, cause
from runner.lab.kube.kinds import Json
from runner.lab.kube.patches import MERGE_KEYS, strategic

Path = tuple[str, ...]

_SYSTEM = {
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "uid",
}


@dataclass(frozen=True, slots=True)
class Owner:
    """One entry of managedFields."""

    manager: str
    operation: str
    api_version: str
    time: str
    subresource: str
    fields: frozenset[Path]

    def entry(self) -> Json:
        tree: Json = {}
        for path in sorted(self.fields):
            node = tree
            for part in path:
                node = node.setdefault(part, {})
        entry: Json = {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": tree,
        }
        return entry | ({"subresource": self.subresource} if self.subresource else {})


def owners(item: Json | None) -> list[Owner]:
    """The owners an object records."""
    entries = item["metadata"].get("managedFields", ()) if item else ()
    return [
        Owner(
            entry["manager"],
            entry["operation"],
            entry["apiVersion"],
            entry.get("time", ""),
            entry.get("subresource", ""),
            frozenset(_paths(entry.get("fieldsV1", {}))),
        )
        for entry in entries
    ]


def _paths(tree: Json, prefix: Path = ()) -> Iterator[Path]:
    for part, below in tree.items():
        if below:
            yield from _paths(below, (*prefix, part))
        elif part != ".":
            yield (*prefix, part)


def fields(item: Json | None) -> Mapping[Path, Any]:
    """Every leaf of an object that somebody can own, with its value."""
    if item is None:
        return {}
    metadata = {k: v for k, v in item.get("metadata", {}).items() if k not in _SYSTEM}
    body = {k: v for k, v in item.items() if k not in ("apiVersion", "kind", "metadata")}
    return dict(_leaves(body | ({"metadata": metadata} if metadata else {})))


def _leaves(value: Json, prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, below in value.items():
        path = (*prefix, f"f:{key}")
        by = MERGE_KEYS.get(key)
        if isinstance(below, dict) and below:
            yield from _leaves(below, path)
        elif by and isinstance(below, list) and below:
            for element in below:
                name = f"k:{json.dumps({by: element.get(by)}, separators=(',', ':'))}"
                yield from _leaves(element, (*path, name))
        else:
            yield path, below


def record(old: Json | None, new: Json, owner: Owner) -> Json:
    """The new object with managedFields after `owner` (its fields still empty) updated it."""
    before, after = fields(old), fields(new)
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    gone = set(before) - set(after)
    others, mine = _take(owners(old), owner, changed | gone)
    return _with_owners(new, [*others, replace(owner, fields=mine | changed)])


def _take(
    known: list[Owner], owner: Owner, fields_: set[Path]
) -> tuple[list[Owner], frozenset[Path]]:
    """Everyone else without these fields, and what the owner itself still has of old."""
    others: list[Owner] = []
    mine: frozenset[Path] = frozenset()
    for entry in known:
        left = entry.fields - fields_
        if _same(entry, owner):
            mine = left
        else:
            others.append(replace(entry, fields=left))
    return others, mine


def _same(one: Owner, other: Owner) -> bool:
    return (one.manager, one.operation, one.subresource) == (
        other.manager,
        other.operation,
        other.subresource,
    )


def _with_owners(item: Json, entries: list[Owner]) -> Json:
    kept = sorted((entry for entry in entries if entry.fields), key=lambda entry: entry.operation)
    metadata = {k: v for k, v in item["metadata"].items() if k != "managedFields"}
    if kept:
        metadata["managedFields"] = [entry.entry() for entry in kept]
    return {**item, "metadata": metadata}


def apply(live: Json, config: Json, owner: Owner, force: bool) -> Json:
    """Server-side apply of `config` by `owner` to the live object.

    Raises:
        ApiFailure: 409 with every field another manager owns with a different value.
    """
    wanted, found = fields(config), fields(live)
    differing = {path for path, value in wanted.items() if path in found and found[path] != value}
    others = [entry for entry in owners(live) if not _same(entry, owner)]
    conflicts = [
        _conflict(entry, path) for entry in others for path in sorted(entry.fields & differing)
    ]
    if conflicts and not force:
        raise apply_conflict(conflicts)
    others = [replace(entry, fields=entry.fields - differing) for entry in others]
    mine = {path for entry in owners(live) if _same(entry, owner) for path in entry.fields}
    abandoned = mine - set(wanted) - {path for entry in others for path in entry.fields}
    body = {key: value for key, value in config.items() if key not in ("apiVersion", "kind")}
    merged = strategic(_without(live, abandoned), body)
    return _with_owners(merged, [replace(owner, fields=frozenset(wanted)), *others])


def _conflict(entry: Owner, path: Path) -> Json:
    message = f'conflict with "{entry.manager}" using {entry.api_version}'
    return cause("FieldManagerConflict", message, "." + _dotted(path))


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        if part.startswith("k:"):
            [(key, value)] = json.loads(part[2:]).items()
            text += f"[{key}={json.dumps(value)}]"
        else:
            text += ("." if text else "") + part[2:]
    return text


def _without(item: Json, paths: set[Path]) -> Json:
    """A copy of the object without these fields, and without what became empty by that."""
    for path in sorted(paths):
        item = _cut(item, path)
    return item


def _cut(value: Json, path: Path) -> Json:
    key = path[0][2:]
    if key not in value:
        return value
    rest = {k: v for k, v in value.items() if k != key}
    if len(path) == 1:
        return rest
    below = value[key]
    left = _cut_element(below, path[1:]) if isinstance(below, list) else _cut(below, path[1:])
    return {**rest, key: left} if left else rest


def _cut_element(elements: list[Json], path: Path) -> list[Json]:
    [(by, name)] = json.loads(path[0][2:]).items()
    left: list[Json] = []
    for element in elements:
        kept = _cut(element, path[1:]) if element.get(by) == name else element
        if set(kept) - {by}:
            left.append(kept)
    return left
