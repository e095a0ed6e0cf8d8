"""The OpenAPI documents of the API, as far as kubectl reads them.

Version 3 says what newer kubectls need: which fields there are (`explain`), how lists are merged
(`apply`), and that the server validates fields itself.
Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from runner.lab.kube.kinds import KINDS, Json, Kind
from runner.lab.kube.patches import MERGE_KEYS, PRIMITIVE_SETS
from runner.lab.kube.schema import EITHER, MICRO_TIME, TIME, Keyed, Many, Shape, Struct, shape_of

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V2 = "\n\x032.0\x12\t\n\x03lab\x12\x02v1"
"""A document that describes no kind: kubectls before 1.24 ask for one before they apply, and do not
check kinds of which they find nothing. Fields 1 (swagger), 2 (info: title, version)."""
_V3 = "/openapi/v3"
_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "[]uint8": {"type": "string", "format": "byte"},
    "interface {}": {"type": "object"},
    "Quantity": {"type": "string"},
    EITHER.go: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    TIME.go: {"type": "string", "format": "date-time"},
    MICRO_TIME.go: {"type": "string", "format": "date-time"},
}


def openapi(path: str) -> Json | None:
    """The document at a path below /openapi/v3; None where there is none."""
    prefixes = {_prefix(kind).strip("/"): kind.api_version for kind in KINDS}
    if path == _V3:
        return {"paths": {prefix: {"serverRelativeURL": f"{_V3}/{prefix}"} for prefix in prefixes}}
    version = prefixes.get(path.removeprefix(f"{_V3}/"))
    return _document(version) if version else None


def _prefix(kind: Kind) -> str:
    return f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"


@cache
def _document(version: str) -> Json:
    kinds = [kind for kind in KINDS if kind.api_version == version]
    schemas: Json = {}
    for kind in kinds:
        for shape in _reached(shape_of(kind), set()):
            schemas[_name(shape)] = _object(shape)
        schemas[_name(shape_of(kind))]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "lab"},
        "paths": {path: methods for kind in kinds for path, methods in _paths(kind)},
        "components": {"schemas": schemas},
    }


def _paths(kind: Kind) -> Iterator[tuple[str, Json]]:
    place = "/namespaces/{namespace}" if kind.namespaced else ""
    path = f"{_prefix(kind)}{place}/{kind.plural}"
    about = {"x-kubernetes-group-version-kind": _gvk(kind), "responses": {}}
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    text = {"type": "string"}
    options = [{"name": name, "in": "query", "schema": text} for name in names]
    yield path, {"get": about, "post": about}
    yield (
        f"{path}/{{name}}",
        {"get": about, "put": about, "patch": {**about, "parameters": options}},
    )


def _gvk(kind: Kind) -> Json:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _reached(shape: Shape, seen: set[Struct]) -> set[Struct]:
    """All objects that an object consists of, itself included."""
    if isinstance(shape, Many | Keyed):
        return _reached(shape.of, seen)
    if isinstance(shape, Struct) and shape not in seen:
        seen.add(shape)
        for field in shape.fields.values():
            _reached(field, seen)
    return seen


def _name(shape: Struct) -> str:
    group, _, version = shape.module.rpartition("_")
    package = "io.k8s.apimachinery.pkg.apis" if group == "meta" else "io.k8s.api"
    return f"{package}.{group}.{version}.{shape.name}"


def _object(shape: Struct) -> Json:
    properties = {name: _property(name, field) for name, field in shape.fields.items()}
    required = sorted(shape.required)
    return {"type": "object", "properties": properties} | (
        {"required": required} if required else {}
    )


def _property(name: str, shape: Shape) -> Json:
    if isinstance(shape, Many):
        merged: Json = {}
        if isinstance(shape.of, Struct) and name in MERGE_KEYS:
            merged = {"x-kubernetes-patch-merge-key": MERGE_KEYS[name]}
        if merged or name in PRIMITIVE_SETS:
            merged |= {"x-kubernetes-patch-strategy": "merge"}
        return {"type": "array", "items": _type(shape.of), **merged}
    return _type(shape)


def _type(shape: Shape) -> Json:
    if isinstance(shape, Struct):
        return {"allOf": [{"$ref": f"#/components/schemas/{_name(shape)}"}]}
    if isinstance(shape, Many):
        return {"type": "array", "items": _type(shape.of)}
    if isinstance(shape, Keyed):
        return {"type": "object", "additionalProperties": _type(shape.of)}
    return _SCALARS[shape.go]
