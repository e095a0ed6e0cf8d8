"""Reading what a client wrote as an object of the API: unknown fields, repeated ones, wrong types.

Texts are those of the Go decoders of Kubernetes 1.36 (sigs.k8s.io/json, apimachinery's converter).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.lab.kube.kinds import Json
from runner.lab.kube.quantities import canonical
from runner.lab.kube.schema import (
    ANY,
    BYTES,
    EITHER,
    MICRO_TIME,
    QUANTITY,
    TEXT,
    TIME,
    Many,
    Scalar,
    Shape,
    Struct,
)

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_LAYOUTS = {TIME: "2006-01-02T15:04:05Z07:00", MICRO_TIME: "2006-01-02T15:04:05.000000Z07:00"}
_BITS = {"int32": 31, "int64": 63}
_NOWHERE = Struct("", "")


class Unreadable(ValueError):
    """A value that is not what its field takes.

    Args:
        text: as the JSON decoder says it.
        converted: as the converter of strategic merge patches says it; "" says the same.
    """

    def __init__(self, text: str, converted: str = "") -> None:
        super().__init__(text)
        self.converted = converted or text


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object without what its kind does not have, and what that was."""

    object: Json
    problems: Sequence[str] = ()


class _Repeated(dict[str, Any]):
    """An object in whose text fields stood more than once."""

    names: Sequence[str] = ()


def json_content(text: bytes) -> tuple[Any, Sequence[str]]:
    """JSON, and which of its fields are repeated: `duplicate field "spec.replicas"`.

    Raises:
        ValueError: it is not JSON.
    """
    seen: list[_Repeated] = []

    def pairs(given: list[tuple[str, Any]]) -> Json:
        plain = dict(given)
        if len(plain) == len(given):
            return plain
        found = _Repeated(plain)
        names = [name for name, _ in given]
        found.names = [name for name in plain if names.count(name) > 1]
        seen.append(found)
        return found

    value = json.loads(text, object_pairs_hook=pairs)
    return value, [f'duplicate field "{path}"' for path in _repeated(value)] if seen else []


def yaml_content(text: bytes) -> tuple[Any, Sequence[str]]:
    """YAML, and which of its keys are repeated: `line 3: key "replicas" already set in map`.

    Raises:
        ValueError, yaml.YAMLError: it is neither.
    """
    import yaml

    try:
        value, repeated = json_content(text)
    except ValueError:
        return yaml.safe_load(text), list(_set_twice(yaml.compose(text)))
    return value, list(_set_twice(yaml.compose(text))) if repeated else ()


def _set_twice(node: Any) -> Iterator[str]:
    if node is None or isinstance(node.value, str):
        return
    seen: set[str] = set()
    for entry in node.value:
        key, below = entry if isinstance(entry, tuple) else (None, entry)
        if key is not None and key.value in seen:
            line = key.start_mark.line + 1
            yield f'line {line}: key "{key.value}" already set in map'
        seen.add(key.value if key is not None else "")
        yield from _set_twice(below)


def _repeated(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name in getattr(value, "names", ()):
            yield _join(path, name)
        for name, below in value.items():
            yield from _repeated(below, _join(path, name))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _repeated(below, f"{path}[{index}]")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def decode(shape: Struct, value: Any) -> Decoded:
    """Read a value as an object with these fields.

    Raises:
        Unreadable: a value has another type than its field.
    """
    unknown: list[str] = []
    found = _read(shape, value, "", _NOWHERE, unknown)
    return Decoded(found, [f'unknown field "{path}"' for path in unknown])


def _read(shape: Shape, value: Any, path: str, owner: Struct, unknown: list[str]) -> Any:
    if isinstance(shape, Scalar):
        return _scalar(shape, value, path, owner)
    if isinstance(shape, Many):
        if not isinstance(value, list):
            raise _mismatch(shape, value, path, owner)
        return [
            _read(shape.of, {} if entry is None else entry, f"{path}[{index}]", owner, unknown)
            for index, entry in enumerate(value)
        ]
    if not isinstance(value, dict):
        raise _mismatch(shape, value, path, owner)
    if isinstance(shape, Struct):
        return _read_struct(shape, value, path, unknown)
    return {
        key: "" if entry is None else _read(shape.of, entry, path, owner, unknown)
        for key, entry in value.items()
    }


def _read_struct(shape: Struct, value: Json, path: str, unknown: list[str]) -> Json:
    fields, found = shape.fields, {}
    for key, entry in value.items():
        field = fields.get(key)
        if field is None:
            unknown.append(_join(path, key))
        elif entry is not None:
            found[key] = _read(field, entry, _join(path, key), shape, unknown)
        elif field is TIME or field is MICRO_TIME:  # written out as null; all else is left out
            found[key] = None
    return found


def _scalar(shape: Scalar, value: Any, path: str, owner: Struct) -> Any:
    if shape is TEXT:
        if isinstance(value, str):
            return value
    elif read := _READERS.get(shape):
        return read(value)
    elif _fits(shape.go, value):
        return value
    raise _mismatch(shape, value, path, owner)


def _fits(go: str, value: Any) -> bool:
    if go == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if go == "float64":
        return isinstance(value, int | float)
    return isinstance(value, int) and -(1 << _BITS[go]) <= value < 1 << _BITS[go]


def _quantity(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        value = json.dumps(value)
    try:
        return canonical(str(value).strip())
    except ValueError as error:
        raise Unreadable(str(error)) from None


def _time(shape: Scalar) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise Unreadable(f"json: cannot unmarshal {_kind(value)} into Go value of type string")
        if not _TIME.fullmatch(value):
            why = f'cannot parse "{value}" as "2006"'
            raise Unreadable(f'parsing time "{value}" as "{_LAYOUTS[shape]}": {why}')
        return value

    return read


def _either(value: Any) -> int | str:
    if isinstance(value, str) or _fits("int32", value):
        assert isinstance(value, int | str)
        return value
    raise Unreadable(f"json: cannot unmarshal {_kind(value)} into Go value of type int32")


def _bytes(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"json: cannot unmarshal {_kind(value)} into Go value of type []uint8")
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        good = re.match(r"[A-Za-z0-9+/]*", value)
        at = good.end() if good else 0
        raise Unreadable(f"illegal base64 data at input byte {at}") from None
    return value


_READERS: Mapping[Scalar, Callable[[Any], Any]] = {
    ANY: lambda value: value,
    BYTES: _bytes,
    EITHER: _either,
    MICRO_TIME: _time(MICRO_TIME),
    QUANTITY: _quantity,
    TIME: _time(TIME),
}


def _kind(value: Any) -> str:
    """What Go's decoder calls a JSON value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return f"number {value}"
    return {str: "string", int: "number", list: "array"}.get(type(value), "object")


def _mismatch(shape: Shape, value: Any, path: str, owner: Struct) -> Unreadable:
    where = re.sub(r"\[\d+\]", "", path)
    text = f"json: cannot unmarshal {_kind(value)} into Go struct field {owner.name}.{where}"
    return Unreadable(f"{text} of type {shape.go}", _unconverted(shape, value))


def _unconverted(shape: Shape, value: Any) -> str:
    """How the converter of strategic merge patches calls a wrong type."""
    kinds = {str: "string", bool: "bool", int: "int64", float: "float64", list: "slice"}
    found = kinds.get(type(value), "map")
    if isinstance(shape, Struct):
        return f"cannot restore struct from: {found}"
    if isinstance(shape, Scalar):
        numbers = found == "int64" and shape.go == "string"
        return "cannot convert int64 to string" if numbers else f"unrecognized type: {shape.go}"
    wanted = "slice" if isinstance(shape, Many) else "map"
    return f"cannot restore {wanted} from {found}"
