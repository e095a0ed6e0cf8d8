"""The Table form of objects, which `kubectl get` asks for and prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runner.lab.kube import clock
from runner.lab.kube.budgets import is_ready
from runner.lab.kube.kinds import Json, Kind

Cell = str | int
Columns = Sequence[tuple[str, Callable[[Json], Cell]]]


def table(kind: Kind, items: Sequence[Json], metadata: Json) -> Json:
    """A meta.k8s.io/v1 Table of these objects."""
    columns: Columns = [("Name", _name), *_COLUMNS.get(kind.name, ()), ("Age", _age)]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_definition(name) for name, _ in columns],
        "rows": [
            {
                "cells": [cell(item) for _, cell in columns],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"],
                },
            }
            for item in items
        ],
    }


def _definition(name: str) -> Json:
    wide = name.startswith("*")
    return {
        "name": name.lstrip("*"),
        "type": "string",
        "format": "name" if name == "Name" else "",
        "description": "",
        "priority": 1 if wide else 0,
    }


def _name(item: Json) -> Cell:
    return str(item["metadata"]["name"])


def _age(item: Json) -> Cell:
    return clock.age(item["metadata"]["creationTimestamp"])


def _at(*path: str) -> Callable[[Json], Cell]:
    def read(item: Json) -> Cell:
        value: object = item
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, int) else str(value or "<none>")

    return read


def _node_status(item: Json) -> Cell:
    conditions = item["status"].get("conditions", ())
    ready = next((entry["status"] for entry in conditions if entry["type"] == "Ready"), "Unknown")
    text = "Ready" if ready == "True" else "NotReady"
    cordoned = item["spec"].get("unschedulable")
    return f"{text},SchedulingDisabled" if cordoned else text


def _pod_ready(item: Json) -> Cell:
    total = len(item["spec"].get("containers", ()))
    return f"{total if is_ready(item) else 0}/{total}"


def _pod_status(item: Json) -> Cell:
    if "deletionTimestamp" in item["metadata"]:
        return "Terminating"
    phase = str(item["status"].get("phase", "Unknown"))
    return {"Succeeded": "Completed", "Failed": "Error"}.get(phase, phase)


def _replicas_ready(item: Json) -> Cell:
    return f"{item['status'].get('readyReplicas', 0)}/{item['spec'].get('replicas', 1)}"


def _selector(item: Json) -> Cell:
    labels = item["spec"]["template"]["spec"].get("nodeSelector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


_COLUMNS: Mapping[str, Columns] = {
    "Node": (
        ("Status", _node_status),
        ("*GPUs", _at("status", "allocatable", "nvidia.com/gpu")),
        ("Version", _at("status", "nodeInfo", "kubeletVersion")),
    ),
    "Pod": (
        ("Ready", _pod_ready),
        ("Status", _pod_status),
        ("Restarts", lambda item: 0),
        ("*Node", _at("spec", "nodeName")),
    ),
    "DaemonSet": (
        ("Desired", _at("status", "desiredNumberScheduled")),
        ("Current", _at("status", "currentNumberScheduled")),
        ("Ready", _at("status", "numberReady")),
        ("Node Selector", _selector),
    ),
    "Deployment": (("Ready", _replicas_ready),),
    "ReplicaSet": (("Ready", _replicas_ready),),
    "Job": (("Completions", lambda item: f"{item['status'].get('succeeded', 0)}/1"),),
    "Namespace": (("Status", _at("status", "phase")),),
    "Lease": (("Holder", _at("spec", "holderIdentity")),),
    "Event": (
        ("Type", _at("type")),
        ("Reason", _at("reason")),
        ("Object", lambda item: _involved(item)),
        ("Message", _at("message")),
    ),
    "PodDisruptionBudget": (
        ("Min Available", _at("spec", "minAvailable")),
        ("Max Unavailable", _at("spec", "maxUnavailable")),
        ("Allowed Disruptions", _at("status", "disruptionsAllowed")),
    ),
}


def _involved(item: Json) -> str:
    involved = item.get("involvedObject", {})
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"
