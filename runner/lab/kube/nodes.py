"""The nodes of the lab's cluster: what is known of each from outside, and its Node object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.lab.kube import clock
from runner.lab.kube.kinds import Json

GPU = "nvidia.com/gpu"
NVIDIA = "nvidia.com/"


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One node.

    Args:
        name: of the Node object.
        address: where port 22 tells whether the node lives; "" is always alive.
        root: its root folder with the simulated GPUs; "" has none, and `count` GPUs that never
            change.
        model: of its GPUs.
        count: of its GPUs.
    """

    name: str
    address: str = ""
    root: str = ""
    model: str = "A100-40"
    count: int = 8


def read(path: Path) -> Sequence[SimulatedNode]:
    """Nodes as `gpurun lab up` lists them: name, address, root, model, count."""
    return [
        SimulatedNode(
            entry["name"],
            entry.get("address") or "",
            entry.get("root") or "",
            entry.get("model") or "",
            int(entry.get("count") or 0),
        )
        for entry in json.loads(path.read_text())
    ]


def node_object(node: SimulatedNode) -> Json:
    """The Node as kubelet and NVIDIA's GPU feature discovery would register it."""
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    resources = {"cpu": "64", "memory": "512Gi", "pods": "110"}
    if node.count:
        labels |= {
            "nvidia.com/gpu.present": "true",
            **_model_labels(node.model),
            "nvidia.com/gpu.count": str(node.count),
            "nvidia.com/gpu.deploy.device-plugin": "true",
            "nvidia.com/gpu.deploy.dcgm-exporter": "true",
        }
        resources[GPU] = str(node.count)
    addresses = [{"type": "Hostname", "address": node.name}]
    if node.address:
        addresses.insert(0, {"type": "InternalIP", "address": node.address})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": addresses,
            "conditions": [ready_condition(True), *map(_pressure, ("Memory", "Disk", "PID"))],
            "nodeInfo": {
                "kubeletVersion": "v1.36.2",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "containerRuntimeVersion": "containerd://1.6.20",
            },
        },
    }


def _model_labels(key: str) -> dict[str, str]:
    """What GPU feature discovery says of a model; nothing of one the simulator does not know."""
    from runner.lab.gpu.models import MODELS

    model = MODELS.get(key)
    if model is None:
        return {}
    return {
        "nvidia.com/gpu.product": model.product.replace(" ", "-"),
        "nvidia.com/gpu.family": model.architecture.lower().replace(" ", "-"),
        "nvidia.com/mig.capable": str(bool(model.profiles)).lower(),
    }


def ready_condition(answers: bool) -> Json:
    """The Ready condition of a node that answers, or that its controller has lost."""
    moment = clock.now()
    return {
        "type": "Ready",
        "status": "True" if answers else "Unknown",
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment,
        "reason": "KubeletReady" if answers else "NodeStatusUnknown",
        "message": "kubelet is posting ready status"
        if answers
        else "Kubelet stopped posting node status.",
    }


def _pressure(name: str) -> Json:
    moment = clock.now()
    return {
        "type": f"{name}Pressure",
        "status": "False",
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment,
        "reason": f"KubeletHasNo{name}Pressure",
        "message": "",
    }


def is_ready(node: Json) -> bool:
    conditions = node["status"].get("conditions", ())
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
