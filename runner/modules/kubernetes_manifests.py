"""Manifests of `kubernetes_object`: what makes one, and reading several from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from runner.kube.objects import full_name
from runner.modules.base import Context, Refused

_OTHER_MODULES = {
    "Node": "use node_label or node_taint",
    "Pod": "apply what owns it: a DaemonSet, a Deployment or a Job",
    "Lease": "gpurun holds those of its nodes itself",
}


def check_manifest(item: Mapping[str, Any]) -> None:
    """Raise ValueError, in words for its author, where this cannot be applied."""
    meta = item.get("metadata")
    for name, value in (
        ("apiVersion", item.get("apiVersion")),
        ("kind", item.get("kind")),
        ("metadata.name", meta.get("name") if isinstance(meta, dict) else None),
    ):
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} is needed, as text")
    if item["kind"] in _OTHER_MODULES:
        raise ValueError(f"kind {item['kind']}: {_OTHER_MODULES[item['kind']]}")
    for kept in ("status", "managedFields"):
        if kept in item or kept in item["metadata"]:
            raise ValueError(f"{kept} is the server's: leave it out")
    _keys_are_texts(item, "")
    _texts_only(item)


def _keys_are_texts(value: object, where: str) -> None:
    """JSON has no other keys: YAML's `no:`, `on:` or `1:` would become "false", "true", "1"."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            _keys_are_texts(each, f"{where}[{number}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where or 'it'} has the key {key!r}, which is no text: quote it")
            _keys_are_texts(each, f"{where}.{key}" if where else key)


def _texts_only(item: Mapping[str, Any]) -> None:
    """Maps of text to text, in which a template easily leaves a number or a boolean."""
    meta = item["metadata"]
    maps = {f"metadata.{name}": meta.get(name) for name in ("labels", "annotations")}
    if item["kind"] in ("ConfigMap", "Secret"):
        maps |= {name: item.get(name) for name in ("data", "stringData")}
    for name, values in maps.items():
        if isinstance(values, dict):
            for key, value in values.items():
                if not isinstance(value, str):
                    raise ValueError(f"{name}.{key}: text is needed (quotes, or the filter string)")


def read_manifests(name: str, rendered: bool, context: Context) -> tuple[dict[str, Any], ...]:
    """The documents of a YAML file of the playbook, in their order; empty ones are left out.

    Args:
        rendered: it is a template.

    Raises:
        Refused: with the file and the document, for everything that is wrong with it.
    """
    if context.read is None or (rendered and context.template is None):
        raise Refused(f"{name}: files of the playbook cannot be read here")
    try:
        text = context.read(name).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is not UTF-8 text (byte {error.start})") from None
    if rendered and context.template is not None:
        text = context.template(text, name)
    try:
        documents = [item for item in yaml.load_all(text, _PlainLoader) if item is not None]
    except yaml.YAMLError as error:
        raise Refused(f"{name}: {' '.join(str(error).split())}") from None
    problems = [_problem(number, item) for number, item in enumerate(documents, 1)]
    found = [f"{name}: {problem}" for problem in (*problems, *_twice(documents)) if problem]
    if not documents:
        found.append(f"{name} holds no manifest")
    if found:
        raise Refused("; ".join(found))
    return tuple(documents)


def _problem(number: int, item: object) -> str:
    if not isinstance(item, dict):
        return f"document {number} is no mapping"
    try:
        check_manifest(item)
    except ValueError as error:
        return f"document {number}: {error}"
    return ""


def _twice(documents: Sequence[Any]) -> list[str]:
    names = [full_name(item) for item in documents if _is_named(item)]
    return [f"{name} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]


def _is_named(item: object) -> bool:
    return isinstance(item, dict) and not _problem(0, item)


class _PlainLoader(yaml.SafeLoader):
    """YAML as JSON has it: what looks like a date is text."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
