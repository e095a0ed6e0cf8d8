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
    columns: Columns = [("Name", _name), *_COLUMNS.get(kind.name, (("Age", _age),))]
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


def _told(name: str) -> Callable[[Json], Cell]:
    """What a kubelet has reported of its node."""
    return lambda item: str(item["status"]["nodeInfo"][name] or "<unknown>")


def _node_status(item: Json) -> Cell:
    conditions = item["status"].get("conditions", ())
    ready = next((entry["status"] for entry in conditions if entry["type"] == "Ready"), "Unknown")
    text = "Ready" if ready == "True" else "NotReady"
    cordoned = item["spec"].get("unschedulable")
    return f"{text},SchedulingDisabled" if cordoned else text


def _roles(item: Json) -> Cell:
    prefix = "node-role.kubernetes.io/"
    labels = item["metadata"].get("labels") or {}
    names = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    return ",".join(names) or "<none>"


def _address(type_: str) -> Callable[[Json], Cell]:
    def read(item: Json) -> Cell:
        found = item["status"].get("addresses") or ()
        return next((str(a["address"]) for a in found if a["type"] == type_), "<none>")

    return read


def _pod_ready(item: Json) -> Cell:
    total = len(item["spec"].get("containers", ()))
    return f"{total if is_ready(item) else 0}/{total}"


def _pod_status(item: Json) -> Cell:
    if "deletionTimestamp" in item["metadata"]:
        return "Terminating"
    status = item["status"]
    phase = str(status.get("reason") or status.get("phase", "Unknown"))
    for container in status.get("containerStatuses") or ():
        state = container["state"]
        told = (state.get("waiting") or state.get("terminated") or {}).get("reason")
        phase = str(told or phase)
    return {"Succeeded": "Completed", "Failed": "Error"}.get(phase, phase)


def _replicas_ready(item: Json) -> Cell:
    return f"{item['status'].get('readyReplicas', 0)}/{item['spec'].get('replicas', 1)}"


def _count(*path: str) -> Callable[[Json], Cell]:
    read = _at(*path)
    return lambda item: 0 if read(item) == "<none>" else read(item)


def _or_na(*path: str) -> Callable[[Json], Cell]:
    read = _at(*path)
    return lambda item: "N/A" if read(item) == "<none>" else read(item)


def _selector(item: Json) -> Cell:
    labels = item["spec"]["template"]["spec"].get("nodeSelector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _of_containers(field: str) -> Callable[[Json], Cell]:
    def read(item: Json) -> Cell:
        containers = item["spec"]["template"]["spec"]["containers"]
        return ",".join(str(container.get(field, "")) for container in containers)

    return read


def _matches(item: Json) -> Cell:
    labels = (item["spec"].get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _data(item: Json) -> Cell:
    return len(item.get("data") or {}) + len(item.get("binaryData") or {})


_AGE = ("Age", _age)
_WORKLOAD: Columns = (
    ("*Containers", _of_containers("name")),
    ("*Images", _of_containers("image")),
)
_SELECTED: Columns = (*_WORKLOAD, ("*Selector", _matches))

_COLUMNS: Mapping[str, Columns] = {
    "Node": (
        ("Status", _node_status),
        ("Roles", _roles),
        _AGE,
        ("Version", lambda item: str(item["status"]["nodeInfo"]["kubeletVersion"])),
        ("*Internal-IP", _address("InternalIP")),
        ("*External-IP", _address("ExternalIP")),
        ("*OS-Image", _told("osImage")),
        ("*Kernel-Version", _told("kernelVersion")),
        ("*Container-Runtime", _told("containerRuntimeVersion")),
    ),
    "Pod": (
        ("Ready", _pod_ready),
        ("Status", _pod_status),
        ("Restarts", lambda item: 0),
        _AGE,
        ("*IP", _at("status", "podIP")),
        ("*Node", _at("spec", "nodeName")),
        ("*Nominated Node", _at("status", "nominatedNodeName")),
        ("*Readiness Gates", lambda item: "<none>"),
    ),
    "DaemonSet": (
        ("Desired", _count("status", "desiredNumberScheduled")),
        ("Current", _count("status", "currentNumberScheduled")),
        ("Ready", _count("status", "numberReady")),
        ("Up-to-date", _count("status", "updatedNumberScheduled")),
        ("Available", _count("status", "numberAvailable")),
        ("Node Selector", _selector),
        _AGE,
        *_SELECTED,
    ),
    "Deployment": (
        ("Ready", _replicas_ready),
        ("Up-to-date", _count("status", "updatedReplicas")),
        ("Available", _count("status", "availableReplicas")),
        _AGE,
        *_SELECTED,
    ),
    "ReplicaSet": (
        ("Desired", _count("spec", "replicas")),
        ("Current", _count("status", "replicas")),
        ("Ready", _count("status", "readyReplicas")),
        _AGE,
        *_SELECTED,
    ),
    "StatefulSet": (("Ready", _replicas_ready), _AGE, *_WORKLOAD),
    "Job": (
        ("Completions", lambda item: f"{item['status'].get('succeeded', 0)}/1"),
        _AGE,
    ),
    "Namespace": (("Status", _at("status", "phase")), _AGE),
    "ConfigMap": (("Data", _data), _AGE),
    "Secret": (("Type", _at("type")), ("Data", _data), _AGE),
    "Lease": (("Holder", _at("spec", "holderIdentity")), _AGE),
    "RuntimeClass": (("Handler", _at("handler")), _AGE),
    "Event": (
        ("Last Seen", _age),
        ("Type", _at("type")),
        ("Reason", _at("reason")),
        ("Object", lambda item: _involved(item)),
        ("Message", _at("message")),
    ),
    "PodDisruptionBudget": (
        ("Min Available", _or_na("spec", "minAvailable")),
        ("Max Unavailable", _or_na("spec", "maxUnavailable")),
        ("Allowed Disruptions", _count("status", "disruptionsAllowed")),
        _AGE,
    ),
}


def _involved(item: Json) -> str:
    involved = item.get("involvedObject", {})
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"
