"""The nodes of a cluster as hosts: a YAML file with `plugin: kubernetes`.

Labels and addresses come from the API server: they are data, never templates.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.errors import ClusterError, Origin
from runner.inventory.tree import Tree
from runner.playbook.document import Map
from runner.playbook.fields import kind_of
from runner.playbook.keywords import nearest

KEYS = {
    "plugin": "kubernetes",
    "kubeconfig": "kubeconfig file, seen from this file; default as kubectl chooses it",
    "context": "context in the kubeconfig; default its current one",
    "label_selector": "only nodes with these labels, as kubectl -l takes it",
    "field_selector": "only nodes with these fields, as kubectl --field-selector takes it",
    "address": "where a host is reached: InternalIP (default), ExternalIP, Hostname, or name",
    "group": "the group of all these hosts; default kubernetes",
    "groups_from_labels": "labels whose values become groups; as a mapping: label to prefix",
    "groups": "group to the label=value (globs allowed) that its hosts have, or a list of them",
    "vars": "variables of all these hosts",
}
"""Keys of the file, and what they say."""
ADDRESSES = ("InternalIP", "ExternalIP", "Hostname", "name")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NO_NAME = re.compile(r"(true|false|[^A-Za-z].*|)$", re.IGNORECASE)
"""Values that say nothing by themselves: the label's name is put before them."""


@dataclass(slots=True)
class _Source:
    """What the file says."""

    where: Origin
    kubeconfig: Path | None = None
    context: str | None = None
    label_selector: str = ""
    field_selector: str = ""
    address: str = "InternalIP"
    group: str = "kubernetes"
    groups_from_labels: dict[str, str] = field(default_factory=dict)
    """Label -> prefix."""
    groups: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Group -> pairs of a label and a glob for its value, all of which a node must have."""
    variables: Map = field(default_factory=Map)


def add_nodes(tree: Tree, config: Map) -> None:
    """Add the nodes that the file asks for; one read of the cluster, page by page."""
    source = _read(tree, config)
    if source is None:
        return
    try:
        nodes = _list(source)
    except ClusterError as error:
        tree.note(error.message, source.where, error.hint)
        return
    if not nodes:
        chosen = [text for text in (source.label_selector, source.field_selector) if text]
        message = f"no node matches {' and '.join(chosen)}" if chosen else "there are no nodes"
        tree.note(
            f"cluster {_cluster(source)}: {message}",
            source.where,
            "kubectl get nodes --show-labels lists what there is.",
        )
    group = tree.group(source.group, source.where)
    for name, value in source.variables.items():
        group.set(name, value, source.variables.where(name) or source.where)
    names_of: dict[str, str] = {}
    for node in nodes:
        _add_node(tree, source, node, names_of)


def _cluster(source: _Source) -> str:
    return source.context or (str(source.kubeconfig) if source.kubeconfig else "of kubectl")


def _list(source: _Source) -> Sequence[Mapping[str, Any]]:
    from runner.kube.cluster import NODES, Cluster

    cluster = Cluster(source.kubeconfig, source.context)
    try:
        return cluster.api.collection(
            NODES, "list nodes", labels=source.label_selector, fields=source.field_selector
        )
    finally:
        cluster.close()


def _add_node(
    tree: Tree, source: _Source, node: Mapping[str, Any], names_of: dict[str, str]
) -> None:
    name, labels, addresses = _parts(node)
    if not _NAME.fullmatch(name):
        tree.note(f"the API server sent a node with the name {name!r}", source.where)
        return
    entry = tree.host(name, source.where, source.group)
    values: dict[str, Any] = {"kubernetes_node": name, "kubernetes_labels": labels}
    if source.address != "name":
        if source.address not in addresses:
            has = ", ".join(addresses) or "none"
            tree.note(
                f"node {name} has no address of type {source.address}; it has: {has}",
                source.where,
                f"Set address: to one of {', '.join(ADDRESSES)}, or narrow label_selector.",
            )
            return
        values["ansible_host"] = addresses[source.address]
    if source.kubeconfig:
        values["kubeconfig"] = str(source.kubeconfig)
    if source.context:
        values["kubernetes_context"] = source.context
    for key, value in values.items():
        entry.set(key, value, source.where)
    for group in _groups(tree, source, labels, names_of):
        tree.host(name, source.where, group)


def _parts(node: Mapping[str, Any]) -> tuple[str, dict[str, str], dict[str, str]]:
    """Name, labels and addresses by type (the first of each) of a v1 Node."""
    meta = node.get("metadata") or {}
    labels = {str(key): str(value) for key, value in (meta.get("labels") or {}).items()}
    addresses: dict[str, str] = {}
    for item in (node.get("status") or {}).get("addresses") or []:
        addresses.setdefault(str(item.get("type")), str(item.get("address")))
    return str(meta.get("name", "")), labels, addresses


def _groups(
    tree: Tree, source: _Source, labels: Mapping[str, str], names_of: dict[str, str]
) -> list[str]:
    """The groups of a node by its labels. `names_of`: group -> the label that made it."""
    found = []
    for label, prefix in source.groups_from_labels.items():
        if label not in labels:
            continue
        group = group_name(label, labels[label], prefix)
        other = names_of.setdefault(group, label)
        if other != label:
            tree.note(
                f"labels {other} and {label} both give group {group}",
                source.where,
                "Give one a prefix: groups_from_labels: {LABEL: PREFIX}.",
            )
        found.append(group)
    for group, wanted in source.groups.items():
        if all(fnmatch.fnmatchcase(labels.get(label, "\0"), glob) for label, glob in wanted):
            found.append(group)
    return found


def group_name(label: str, value: str, prefix: str = "") -> str:
    """The group of a label's value: NVIDIA-H100-80GB-HBM3 gives NVIDIA_H100_80GB_HBM3.

    Values that are no names by themselves (true, 8) get the label's own name before them.
    """
    if not prefix and _NO_NAME.match(value):
        prefix = label.rpartition("/")[2]
    return re.sub(r"\W", "_", f"{prefix}_{value}" if prefix else value)


def _read(tree: Tree, config: Map) -> _Source | None:
    """The settings of the file; None when they are wrong, which is noted."""
    source = _Source(config.where("plugin") or Origin(""))
    before = len(tree.problems)
    for key, value in config.items():
        if key == "plugin" or value is None:
            continue
        if key not in KEYS:
            hint = nearest(key, tuple(KEYS))
            tree.note(f"plugin kubernetes has no key {key}", config.keys_at.get(key), hint)
            continue
        problem = _READERS[key](source, value)
        if problem:
            tree.note(f"{key}: {problem}", config.where(key))
    return source if len(tree.problems) == before else None


def _text(attribute: str) -> Callable[[_Source, Any], str]:
    def read(source: _Source, value: Any) -> str:
        if not isinstance(value, str) or not value or "{{" in value:
            return f"text without templates is expected, found {_found(value)}"
        setattr(source, attribute, str(value))
        return ""

    return read


def _found(value: Any) -> str:
    return repr(str(value)) if isinstance(value, str) else kind_of(value)


def _read_kubeconfig(source: _Source, value: Any) -> str:
    if not isinstance(value, str) or not value:
        return f"the path of a file is expected, found {_found(value)}"
    # Seen from the inventory's folder: -i NAME works from anywhere.
    source.kubeconfig = (Path(source.where.file).parent / Path(value).expanduser()).absolute()
    return ""


def _read_address(source: _Source, value: Any) -> str:
    if value not in ADDRESSES:
        return f"one of {', '.join(ADDRESSES)} is expected, found {_found(value)}"
    source.address = str(value)
    return ""


def _read_groups_from_labels(source: _Source, value: Any) -> str:
    labels = dict.fromkeys(value, "") if _is_texts(value) else value
    if not isinstance(labels, dict):
        return "a list of labels is expected, or a mapping of labels to prefixes"
    wrong = [prefix for prefix in labels.values() if prefix is not None and type(prefix) is not str]
    if wrong:
        return f"a prefix must be text, found {_found(wrong[0])}"
    source.groups_from_labels = {label: prefix or "" for label, prefix in labels.items()}
    return ""


def _read_groups(source: _Source, value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"a mapping of group: label=value is expected, found {_found(value)}"
    for group, wanted in value.items():
        texts = [wanted] if isinstance(wanted, str) else wanted
        if not _is_texts(texts) or not all("=" in text.strip("=") for text in texts):
            return f"group {group}: label=value is expected, or a list of them"
        pairs = [re.split("==?", text, maxsplit=1) for text in texts]
        source.groups[group] = [(label.strip(), glob.strip()) for label, glob in pairs]
    return ""


def _read_vars(source: _Source, value: Any) -> str:
    if not isinstance(value, Map):
        return f"a mapping of variables is expected, found {_found(value)}"
    source.variables = value
    return ""


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_READERS: dict[str, Callable[[_Source, Any], str]] = {
    "kubeconfig": _read_kubeconfig,
    "context": _text("context"),
    "label_selector": _text("label_selector"),
    "field_selector": _text("field_selector"),
    "address": _read_address,
    "group": _text("group"),
    "groups_from_labels": _read_groups_from_labels,
    "groups": _read_groups,
    "vars": _read_vars,
}
