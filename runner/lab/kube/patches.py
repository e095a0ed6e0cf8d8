"""JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from runner.lab.kube.failures import rejected_patch
from runner.lab.kube.kinds import Json

MERGE_KEYS: Mapping[str, str] = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "ports": "containerPort",
    "secrets": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""Lists that a strategic merge joins by a key (x-kubernetes-patch-merge-key of the OpenAPI).

All others are replaced whole: taints and tolerations too."""

PRIMITIVE_SETS = ("finalizers", "podCIDRs")
"""Lists of plain values that a strategic merge joins."""


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes a key, everything but an object replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Json, patch: Json) -> Json:
    """Kubernetes' strategic merge patch: $patch, $retainKeys, $deleteFromPrimitiveList."""
    directive = patch.get("$patch")
    if directive == "delete":
        return {}
    result = {} if directive == "replace" else dict(target)
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if not key.startswith("$"):
            _strategic_value(result, key, value)
    for key, value in patch.items():
        directive, _, name = key.partition("/")
        if directive == "$deleteFromPrimitiveList" and name in result:
            result[name] = [entry for entry in result[name] if entry not in value]
    return result


def _strategic_value(result: Json, key: str, value: Any) -> None:
    current = result.get(key)
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        result[key] = strategic(current if isinstance(current, dict) else {}, value)
    elif isinstance(value, list) and key in MERGE_KEYS:
        result[key] = _strategic_list(current or [], value, MERGE_KEYS[key])
    elif key in PRIMITIVE_SETS:
        result[key] = list(dict.fromkeys([*(current or []), *value]))
    else:
        result[key] = value


def _strategic_list(current: list[Json], patch: list[Json], by: str) -> list[Json]:
    if any(entry.get("$patch") == "replace" for entry in patch):
        return [entry for entry in patch if "$patch" not in entry]
    merged = {entry.get(by): entry for entry in current}
    for entry in patch:
        name = entry.get(by)
        if entry.get("$patch") == "delete":
            merged.pop(name, None)
        else:
            merged[name] = strategic(merged.get(name, {}), entry)
    return list(merged.values())


def json_patch(target: Json, operations: Any) -> Json:
    """RFC 6902; whatever fails, the server only says that the patch was rejected."""
    document = copy.deepcopy(target)
    try:
        for operation in operations:
            _operate(document, operation)
    except (KeyError, IndexError, TypeError, ValueError):
        raise rejected_patch() from None
    return document


def _operate(document: Any, operation: Json) -> None:
    name, path = operation["op"], _pointer(operation["path"])
    if name == "test":
        if _read(document, path) != operation["value"]:
            raise ValueError(operation["path"])
    elif name == "remove":
        _remove(document, path)
    elif name == "replace":
        _remove(document, path)
        _add(document, path, operation["value"])
    elif name == "add":
        _add(document, path, operation["value"])
    elif name in ("move", "copy"):
        source = _pointer(operation["from"])
        value = copy.deepcopy(_read(document, source))
        if name == "move":
            _remove(document, source)
        _add(document, path, value)
    else:
        raise ValueError(name)


def _pointer(text: str) -> list[str]:
    if not text.startswith("/"):
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _read(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _remove(document: Any, path: list[str]) -> None:
    parent = _read(document, path[:-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]


def _add(document: Any, path: list[str], value: Any) -> None:
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else int(path[-1]), value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise TypeError("/".join(path))


PATCHES: Mapping[str, Callable[[Json, Any], Json]] = {
    "application/json-patch+json": json_patch,
    "application/merge-patch+json": merge,
    "application/strategic-merge-patch+json": strategic,
}
"""By the content type of the request."""
