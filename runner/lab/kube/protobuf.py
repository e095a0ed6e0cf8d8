"""Objects in Kubernetes' protobuf, as newer kubectls send what they create; answers are JSON.

The envelope is four bytes and a runtime.Unknown; the numbers of fields are in protobuf.tsv, their
types in the schema. Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ ,
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from runner.lab.kube.kinds import Json
from runner.lab.kube.schema import (
    ANY,
    BYTES,
    EITHER,
    MICRO_TIME,
    QUANTITY,
    TEXT,
    TIME,
    Keyed,
    Many,
    Scalar,
    Shape,
    Struct,
)

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_RUNTIME_UNKNOWN = {"typeMeta": 1, "raw": 2}
_TYPE_META = {1: "apiVersion", 2: "kind"}
Value = int | bytes


def decode_protobuf(content: bytes, shape: Struct) -> Json:
    """The object in a request's content, as it would have come in JSON.

    Raises:
        ValueError: it is not in this form.
    """
    if not content.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message")
    outer = dict(_fields(content[len(_MAGIC) :]))
    head = _fields(_bytes(outer.get(_RUNTIME_UNKNOWN["typeMeta"], b"")))
    named = {_TYPE_META[number]: _bytes(value).decode() for number, value in head}
    return {**named, **_message(shape, _bytes(outer.get(_RUNTIME_UNKNOWN["raw"], b"")))}


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message, in their order."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("unexpected EOF")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            yield number, data[at : at + length]
            at += length
        else:
            raise ValueError(f"illegal wireType {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("unexpected EOF")
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("wrong wireType")
    return value


@cache
def _numbers() -> Mapping[tuple[str, str], Mapping[int, tuple[str, bool]]]:
    """By module and message: the name of each field, and whether it is written even when empty."""
    found: dict[tuple[str, str], Mapping[int, tuple[str, bool]]] = {}
    text = Path(__file__).with_name("protobuf.tsv").read_text()
    for line in filter(lambda line: line and not line.startswith("#"), text.splitlines()):
        name, _, listed = line.partition("\t")
        module, _, message = name.partition(" ")
        fields = [entry.partition("=") for entry in listed.split()]
        found[module, message] = {
            int(number.rstrip("?")): (field, number.endswith("?")) for field, _, number in fields
        }
    return found


def _message(shape: Struct, data: bytes, owner: Struct | None = None) -> Json:
    """One message. `owner` is the object its fields belong to, where that is another."""
    owner = owner or shape
    found: Json = {}
    numbers = _numbers().get((shape.module, shape.name), {})
    for number, value in _fields(data):
        name, pointer = numbers.get(number, ("", False))
        if name.startswith("+"):
            found |= _message(Struct(shape.module, name[1:]), _bytes(value), owner)
        elif field := owner.fields.get(name):
            _put(found, name, field, value, pointer or name in owner.required)
    return found


def _put(found: Json, name: str, shape: Shape, value: Value, kept: bool) -> None:
    if isinstance(shape, Many):
        found.setdefault(name, []).append(_value(shape.of, value))
    elif isinstance(shape, Keyed):
        entry = dict(_fields(_bytes(value)))
        key = _bytes(entry.get(1, b"")).decode()
        found.setdefault(name, {})[key] = _value(shape.of, entry.get(2, b""))
    else:
        plain = _value(shape, value)
        if kept or plain not in ("", 0, False) or not isinstance(shape, Scalar):
            found[name] = plain


def _value(shape: Shape, value: Value) -> Any:
    if isinstance(shape, Struct):
        return _message(shape, _bytes(value))
    if isinstance(value, int):
        if shape == Scalar("bool"):
            return bool(value)
        return value - (1 << 64) if value >= 1 << 63 else value
    assert isinstance(shape, Scalar)
    return _SPECIAL[shape](value) if shape in _SPECIAL else _float(value)


def _float(value: bytes) -> float:
    return float(struct.unpack("<d" if len(value) == 8 else "<f", value)[0])


def _time(value: bytes) -> str | None:
    parts = dict(_fields(value))
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    assert isinstance(seconds, int) and isinstance(nanos, int)
    if not seconds and not nanos:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    fraction = f".{nanos // 1000:06}" if nanos else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _either(value: bytes) -> int | str:
    parts = dict(_fields(value))
    found = parts.get(3 if parts.get(1) else 2, 0)
    return found if isinstance(found, int) else found.decode()


def _first(value: bytes) -> bytes:
    """The first field of a message that has only one."""
    return _bytes(dict(_fields(value)).get(1, b""))


_SPECIAL: Mapping[Scalar, Callable[[bytes], Any]] = {
    ANY: lambda value: json.loads(_first(value) or "null"),
    BYTES: lambda value: base64.b64encode(value).decode(),
    EITHER: _either,
    MICRO_TIME: _time,
    QUANTITY: lambda value: _first(value).decode(),
    TEXT: bytes.decode,
    TIME: _time,
}
