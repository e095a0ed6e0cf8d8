"""The checks of written objects that a client of the lab is likely to meet."""

from __future__ import annotations

import json
import re

from runner.lab.kube.failures import cause, invalid, invalid_value
from runner.lab.kube.kinds import Json, Kind
from runner.lab.kube.selectors import object_selector

_LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_DNS_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
    "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)

_IMMUTABLE = {
    "DaemonSet": ("spec", "selector"),
    "Deployment": ("spec", "selector"),
    "ReplicaSet": ("spec", "selector"),
    "StatefulSet": ("spec", "selector"),
    "RuntimeClass": ("handler",),
}


def validate(kind: Kind, old: Json | None, new: Json) -> None:
    """Raise 422 with every mistake found in an object about to be written."""
    causes = [*_metadata(new["metadata"])]
    if old is not None and kind.name in _IMMUTABLE:
        causes += _immutable(_IMMUTABLE[kind.name], old, new)
    if kind.name == "ConfigMap":
        causes += _config_keys(new)
    elif kind.name == "Lease":
        causes += _times(new) + _duration(new)
    elif kind.name == "Pod":
        causes += _pod(new)
    elif kind.name in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"):
        causes += _template_labels(new)
    if causes:
        raise invalid(kind, new["metadata"]["name"], causes)


def _metadata(metadata: Json) -> list[Json]:
    causes: list[Json] = []
    if not _DNS.fullmatch(metadata["name"]):
        causes.append(invalid_value("metadata.name", _quoted(metadata["name"]), _DNS_RULE))
    for owner in metadata.get("ownerReferences") or ():
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                place = f"metadata.ownerReferences.{field}"
                causes.append(invalid_value(place, '""', "must not be empty"))
    for field in ("labels", "annotations"):
        for key in metadata.get(field) or {}:
            if not _LABEL_NAME.fullmatch(key.rpartition("/")[2]):
                causes.append(invalid_value(f"metadata.{field}", _quoted(key), _NAME_RULE))
    for value in (metadata.get("labels") or {}).values():
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
            causes.append(invalid_value("metadata.labels", _quoted(value), _VALUE_RULE))
    return causes


def _quoted(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _immutable(path: tuple[str, ...], old: Json, new: Json) -> list[Json]:
    before: object = old
    after: object = new
    for part in path:
        before = before.get(part) if isinstance(before, dict) else None
        after = after.get(part) if isinstance(after, dict) else None
    if before == after:
        return []
    return [invalid_value(".".join(path), _quoted(after), "field is immutable")]


def _config_keys(item: Json) -> list[Json]:
    return [
        invalid_value(f"{field}[{key}]", _quoted(key), _KEY_RULE)
        for field in ("data", "binaryData")
        for key in item.get(field) or {}
        if not _CONFIG_KEY.fullmatch(key)
    ]


def _times(item: Json) -> list[Json]:
    causes: list[Json] = []
    for field in ("acquireTime", "renewTime"):
        value = (item.get("spec") or {}).get(field)
        if value is not None and not _MICRO_TIME.fullmatch(str(value)):
            why = f'parsing time "{value}" as "2006-01-02T15:04:05.000000Z07:00"'
            causes.append(invalid_value(f"spec.{field}", _quoted(value), why))
    return causes


def _duration(item: Json) -> list[Json]:
    duration = (item.get("spec") or {}).get("leaseDurationSeconds")
    if duration is None or duration > 0:
        return []
    return [invalid_value("spec.leaseDurationSeconds", _quoted(duration), "must be greater than 0")]


def _pod(item: Json) -> list[Json]:
    if item["spec"].get("containers"):
        return []
    return [cause("FieldValueRequired", "Required value", "spec.containers")]


def _template_labels(item: Json) -> list[Json]:
    spec = item["spec"]
    labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    if spec.get("selector") and object_selector(spec["selector"])(labels):
        return []
    why = "`selector` does not match template `labels`"
    return [invalid_value("spec.template.metadata.labels", _quoted(labels), why)]
