"""The schema that server-side apply checks a configuration against, before it merges anything.

Source of the texts: typed/validate.go of structured-merge-diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from runner.lab.kube.golang import printed
from runner.lab.kube.kinds import Json
from runner.lab.kube.patches import MERGE_KEYS
from runner.lab.kube.schema import ANY, EITHER, QUANTITY, Many, Scalar, Shape, Struct

_NUMBERS = ("int32", "int64", "float64")


def problems(shape: Struct, value: Json) -> Sequence[str]:
    """What a configuration says that objects of its kind do not have."""
    return list(_struct(shape, value, ""))


def _check(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if value is None or shape is ANY:
        return
    if isinstance(shape, Scalar):
        yield from _scalar(shape, value, path)
    elif isinstance(shape, Many):
        yield from _many(shape, value, path)
    elif not isinstance(value, dict):
        yield f"{path}: expected map, got {_shown(value)}"
    elif isinstance(shape, Struct):
        yield from _struct(shape, value, path)
    else:
        for key, entry in value.items():
            yield from _check(shape.of, entry, f"{path}.{key}")


def _struct(shape: Struct, value: Json, path: str) -> Iterator[str]:
    for key, entry in value.items():
        field = shape.fields.get(key)
        if field is None:
            yield f"{path}.{key}: field not declared in schema"
        else:
            yield from _check(field, entry, f"{path}.{key}")


def _many(shape: Many, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got {_shown(value)}"
        return
    by = MERGE_KEYS.get(path.rpartition(".")[2]) if isinstance(shape.of, Struct) else None
    seen: set[str] = set()
    for index, entry in enumerate(value):
        place = f"[{index}]"
        if by and isinstance(entry, dict):
            place = f"[{by}={json.dumps(entry.get(by))}]"
            if by not in entry:
                yield (
                    f"{path}: element {index}: associative list with keys has an element that "
                    f'omits key field "{by}" (and doesn\'t have default value)'
                )
                continue
            if place in seen and by != "containerPort":
                yield f"{path}: duplicate entries for key {place}"
            seen.add(place)
        yield from _check(shape.of, entry, path + place)


def _scalar(shape: Scalar, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict | list):
        yield f"{path}: expected string, got {_shown(value)}"
    elif shape in (QUANTITY, EITHER):
        return
    elif shape.go in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path}: expected numeric (int or float), got {_type(value)}"
    elif shape.go == "bool":
        if not isinstance(value, bool):
            yield f"{path}: expected boolean, got {_shown(value)}"
    elif not isinstance(value, str):
        yield f"{path}: expected string, got {_go(value)}"


def _type(value: Any) -> str:
    return "bool" if isinstance(value, bool) else "string"


def _shown(value: Any) -> str:
    return f"&{{{printed(value)}}}"


def _go(value: Any) -> str:
    return f"&value.valueUnstructured{{Value:{json.dumps(value)}}}"
