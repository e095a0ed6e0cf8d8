"""The node as its cluster sees it, for templates (`facts.kubernetes`)."""

from __future__ import annotations

from typing import Any

from runner.facts.base import Fact, plain
from runner.kube.state import NodeState

NO_CLUSTER = "no cluster is configured (inventory variable 'kubeconfig')"
"""Why nothing is known of a host's node."""


def export(node: NodeState) -> dict[str, Any]:
    """A `NodeState` as plain data; whole numbers of capacity and allocatable become integers.

    So `facts.kubernetes.allocatable['nvidia.com/gpu'] == 8` is what one would write; "512Gi"
    stays text.
    """
    data: dict[str, Any] = plain(node)
    for name in ("labels", "annotations"):
        data[name] = dict(data[name])
    for name in ("capacity", "allocatable"):
        data[name] = {key: _number(value) for key, value in data[name].items()}
    return data


def _number(value: str) -> int | str:
    return int(value) if value.isascii() and value.isdigit() else value


KUBERNETES = Fact(
    "kubernetes",
    "The Kubernetes node: labels, taints, schedulability, capacity, allocatable and its pods.",
    None,
    export,
    (
        ("name", "text", "The node's name."),
        ("labels", "mapping", ""),
        ("annotations", "mapping", ""),
        ("taints", "list", "Each `key=value:effect`."),
        ("unschedulable", "boolean", "It is cordoned."),
        ("cordoned_by", "text", "Who did that, by the server's record: `kubectl-cordon`."),
        ("cordoned_at", "text", "And when."),
        ("ready", "boolean", "Its condition Ready."),
        ("capacity", "mapping", "Resource to quantity; whole numbers are numbers, others text."),
        ("allocatable", "mapping", "As `capacity`."),
        ("pods", "list", "Its pods."),
        ("kubelet_version", "text", "`v1.31.2`; empty: it does not say."),
    ),
)
