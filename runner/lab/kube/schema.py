"""Which fields the API's objects have: the models lightkube generates from Kubernetes' OpenAPI.

The models say everything but two things, which are kept here as data: what the values of their
maps are (text, unless named here) and which integers have 64 bits (only messages tell).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from runner.lab.kube.kinds import Kind

_LONG = frozenset(
    {
        "activeDeadlineSeconds",
        "deletionGracePeriodSeconds",
        "expirationSeconds",
        "fsGroup",
        "generation",
        "gracePeriodSeconds",
        "observedGeneration",
        "remainingItemCount",
        "runAsGroup",
        "runAsUser",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
"""Fields that are int64; all other integers are int32."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A plain value, by the name its Go type has in messages."""

    go: str


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    of: Shape

    @property
    def go(self) -> str:
        return f"[]{self.of.go}"


@dataclass(frozen=True, slots=True)
class Keyed:
    """A map from names to values."""

    of: Shape

    @property
    def go(self) -> str:
        return f"map[string]{self.of.go}"


@dataclass(frozen=True, slots=True)
class Struct:
    """An object with known fields: `PodSpec` of the module `core_v1`."""

    module: str
    name: str

    @property
    def go(self) -> str:
        return f"v1.{self.name}"

    @property
    def fields(self) -> Mapping[str, Shape]:
        return _fields(self.module, self.name)

    @property
    def required(self) -> frozenset[str]:
        """Fields that the OpenAPI document calls required."""
        return _required(self.module, self.name)


Shape = Scalar | Many | Keyed | Struct

TEXT, BYTES, ANY = Scalar("string"), Scalar("[]uint8"), Scalar("interface {}")
TIME, MICRO_TIME = Scalar("Time"), Scalar("MicroTime")
QUANTITY, EITHER = Scalar("Quantity"), Scalar("IntOrString")
_NAMED: Mapping[str, Scalar] = {
    "str": TEXT,
    "int": Scalar("int32"),
    "float": Scalar("float64"),
    "bool": Scalar("bool"),
    "Time": TIME,
    "MicroTime": MICRO_TIME,
    "Quantity": QUANTITY,
    "IntOrString": EITHER,
    "FieldsV1": ANY,
    "RawExtension": ANY,
}
_MAPS: Mapping[str, Scalar] = {
    **dict.fromkeys(("allocatable", "allocatedResources", "capacity", "hard", "limits"), QUANTITY),
    **dict.fromkeys(("overhead", "podFixed", "requests", "used"), QUANTITY),
    **dict.fromkeys(("attributes", "consumedCapacity", "counters", "extra"), ANY),
    "binaryData": BYTES,
    "disruptedPods": TIME,
}
"""What the values of a map are, by the name of its field."""

_OPTIONAL = re.compile(r"Optional\[(.*)\]")
_LIST = re.compile(r"List\[(.*)\]")


def shape_of(kind: Kind) -> Struct:
    """The fields of a kind the lab serves."""
    return Struct(f"{kind.group.split('.')[0] or 'core'}_{kind.version}", kind.name)


@cache
def _fields(module: str, name: str) -> Mapping[str, Shape]:
    model = _model(module, name)
    # An object of which nothing may be said (`{}`) is a plain Dict in the models.
    python = getattr(model, "__struct_fields__", ())
    names = zip(python, getattr(model, "__struct_encode_fields__", ()), strict=True)
    return {json: _parse(module, name, json, model.__annotations__[field]) for field, json in names}


@cache
def _required(module: str, name: str) -> frozenset[str]:
    model = _model(module, name)
    names = getattr(model, "__struct_encode_fields__", ())
    return frozenset(names[: len(names) - len(getattr(model, "__struct_defaults__", ()))])


def _model(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"lightkube.models.{module}"), name)


def _parse(module: str, owner: str, field: str, annotation: str) -> Shape:
    """A shape from a model's annotation: `Optional[List[Container]]`."""
    if found := _OPTIONAL.fullmatch(annotation) or _LIST.fullmatch(annotation):
        inner = _parse(module, owner, field, found[1])
        return Many(inner) if annotation.startswith("List") else inner
    if annotation == "dict":
        return Keyed(BYTES if owner == "Secret" and field == "data" else _MAPS.get(field, TEXT))
    if annotation == "int" and field in _LONG:
        return Scalar("int64")
    elsewhere, _, name = annotation.rpartition(".")
    return _NAMED.get(name) or Struct(elsewhere or module, name)
