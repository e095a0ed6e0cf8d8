"""Objects of the Kubernetes API as tests write them, and the recorded answers of a real server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.kube.names import NODE, NS

RECORDED = Path(__file__).with_name("recorded")


def recorded(name: str) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of a recorded answer."""
    answer = json.loads((RECORDED / f"{name}.json").read_text())
    return answer["status"], answer["body"]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    name: str,
    *,
    namespace: str = NS,
    node: str = NODE,
    owner: str = "ReplicaSet",
    owner_name: str = "web",
    owner_uid: str = "",
    gpus: int = 0,
    labels: dict[str, str] | None = None,
    phase: str = "Running",
    grace: int = 1,
    empty_dir: bool = False,
    mirror: bool = False,
    **spec: Any,
) -> dict[str, Any]:
    """A v1 Pod bound to a node, running and ready.

    Args:
        owner: kind of its controller; "": it has none.
        owner_uid: of that; "" leaves it to whoever stores the pod.
    """
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels or {}}
    if owner:
        api = "apps/v1"
        reference = {"apiVersion": api, "kind": owner, "name": owner_name, "controller": True}
        meta["ownerReferences"] = [{**reference, "uid": owner_uid}]
    if mirror:
        meta["annotations"] = {"kubernetes.io/config.mirror": "x"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": grace,
            "containers": [{"name": "c", "image": "registry.invalid/x:1", "resources": resources}],
            **({"volumes": [{"name": "scratch", "emptyDir": {}}]} if empty_dir else {}),
            **spec,
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(phase == "Running")}],
        },
    }


def stored(item: dict[str, Any], uid: str = "") -> dict[str, Any]:
    """The same object as a server gives it back."""
    extra = {"uid": uid or f"uid-{item['metadata']['name']}"}
    return {**item, "metadata": {**item["metadata"], **extra}}
