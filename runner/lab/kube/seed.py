"""What the lab's cluster starts with: nodes, DaemonSets, and workloads that drains meet."""

from __future__ import annotations

from collections.abc import Sequence

from runner.lab.kube import api, credentials
from runner.lab.kube.answers import Answer
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.kubelet import RUN
from runner.lab.kube.nodes import GPU, SimulatedNode, node_object
from runner.lab.kube.requests import Request
from runner.lab.kube.store import Store

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
DEVICE_PLUGIN = "nvidia-device-plugin-daemonset"
EXPORTER = "nvidia-dcgm-exporter"
_DEPLOY = "nvidia.com/gpu.deploy."


def seed(store: Store, nodes: Sequence[SimulatedNode], workloads: bool = True) -> None:
    """Fill an empty store.

    Args:
        workloads: False leaves it at namespaces and nodes.
    """
    for name in NAMESPACES:
        create(store, {"kind": "Namespace", "metadata": {"name": name}})
    register(store, nodes)
    for item in _workloads(nodes) if workloads else ():
        create(store, item)


def register(store: Store, nodes: Sequence[SimulatedNode]) -> None:
    """Create the Node objects that are missing, as kubelets do when they start."""
    for node in nodes:
        if store.get(KIND["Node"], "", node.name) is None:
            create(store, node_object(node))


def reset(store: Store, nodes: Sequence[SimulatedNode], workloads: bool = True) -> None:
    """Bring a store back to what `seed` makes; watches see the difference."""
    with store.lock:
        store.clear()
        seed(store, nodes, workloads)


def create(store: Store, item: Json) -> Json:
    """Create an object through the API, as its administrator.

    Raises:
        ValueError: with the API's message, when it is refused.
    """
    import json

    kind = KIND[item["kind"]]
    base = f"/apis/{kind.api_version}" if kind.group else "/api/v1"
    namespace = item["metadata"].get("namespace", "default")
    path = f"{base}/namespaces/{namespace}" if kind.namespaced else base
    request = Request(
        "POST",
        f"{path}/{kind.plural}",
        credentials.ADMIN,
        {"fieldValidation": "Strict"},
        content=json.dumps(item).encode(),
        agent="gpurun-lab",
    )
    answer = api.answer(store, request)
    if not isinstance(answer, Answer) or answer.code != 201 or isinstance(answer.body, str):
        raise ValueError(f"creating {kind.name} {item['metadata']}: {answer}")
    return answer.body


def _workloads(nodes: Sequence[SimulatedNode]) -> Sequence[Json]:
    """GPU pods for as many GPUs as are left when the largest node is away."""
    counts = [node.count for node in nodes if node.count]
    spare = min(sum(counts) - max(counts, default=0), len(counts))
    guarded, plain = (spare + 1) // 2, spare // 2
    return [
        daemon_set("kube-proxy", "registry.k8s.io/kube-proxy:v1.36.2", {}),
        daemon_set(
            DEVICE_PLUGIN,
            "nvcr.io/nvidia/k8s-device-plugin:v0.17.1",
            {f"{_DEPLOY}device-plugin": "true"},
            [{"name": "MIG_STRATEGY", "value": "single"}],
            "nvidia-device-plugin-ctr",
        ),
        daemon_set(
            EXPORTER,
            "nvcr.io/nvidia/k8s/dcgm-exporter:4.2.3-4.1.1-ubuntu22.04",
            {f"{_DEPLOY}dcgm-exporter": "true"},
        ),
        deployment("trainer", guarded, gpus=1),
        budget("trainer", max(0, guarded - 1)),
        deployment("inference", plain, gpus=1),
        deployment("web", 2),
        job("nightly-report", seconds=5),
    ]


def daemon_set(
    name: str,
    image: str,
    selector: dict[str, str],
    env: Sequence[Json] = (),
    container_name: str = "",
) -> Json:
    """A DaemonSet of kube-system with one container, which is named like it unless told."""
    container: Json = {"name": container_name or name, "image": image}
    if env:
        container["env"] = list(env)
    spec: Json = {"containers": [container], "priorityClassName": "system-node-critical"}
    if selector:
        spec["nodeSelector"] = selector
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return {
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"app": name}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


def deployment(name: str, replicas: int, gpus: int = 0, namespace: str = "default") -> Json:
    """A Deployment of pods with one container each, with or without GPUs."""
    container: Json = {"name": name, "image": f"registry.example/{name}:1.0"}
    if gpus:
        container["resources"] = {"limits": {GPU: str(gpus)}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
        },
    }


def stateful_set(name: str, replicas: int, namespace: str = "default") -> Json:
    """A StatefulSet of pods with one container each."""
    item = deployment(name, replicas, namespace=namespace)
    return {**item, "kind": "StatefulSet", "spec": {**item["spec"], "serviceName": name}}


def budget(app: str, minimum: int, namespace: str = "default") -> Json:
    """A PodDisruptionBudget for the pods of a Deployment."""
    return {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": app, "namespace": namespace},
        "spec": {"minAvailable": minimum, "selector": {"matchLabels": {"app": app}}},
    }


def job(name: str, seconds: float, namespace: str = "default") -> Json:
    """A Job whose one pod succeeds after some seconds."""
    container = {"name": name, "image": f"registry.example/{name}:1.0"}
    template = {
        "metadata": {"annotations": {RUN: str(seconds)}},
        "spec": {"containers": [container], "restartPolicy": "Never"},
    }
    return {
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": template},
    }
