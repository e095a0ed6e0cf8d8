"""How long it takes to look at the drains of many nodes against the lab's API."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runner.kube.cluster import Cluster
from runner.kube.preview import preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions
from runner.lab.kube.kinds import KIND
from runner.lab.kube.server import ApiServer
from runner.lab.kube.store import Store

NODES, PODS, OWNERS = 200, 30, 60
FORKS = 32
"""Hosts that a run works on at once."""


def measure(nodes: int = NODES, pods: int = PODS) -> str:
    """Nodes, pods and budgets read, and every drain previewed: seconds and requests."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store()
        for kind, item in objects(nodes, pods):
            store.put(KIND[kind], {"apiVersion": KIND[kind].api_version, "kind": kind, **item})
        server = ApiServer(store, Path(folder), "127.0.0.1", 0)
        cluster = Cluster(server.start())
        try:
            began = time.monotonic()
            going = _planned(cluster, [f"node-{number}" for number in range(nodes)])
            seconds = time.monotonic() - began
        finally:
            cluster.close()
            server.stop()
    if going != nodes * pods:
        raise RuntimeError(f"{going} pods would go, not {nodes * pods}")
    return (
        f"drains of {nodes} nodes with {pods} pods each planned in {seconds:.1f} s"
        f" with {cluster.api.requests} requests"
    )


def _planned(cluster: Cluster, names: list[str]) -> int:
    snapshot = Snapshot(cluster, names)
    found = snapshot.nodes()
    with ThreadPoolExecutor(FORKS) as pool:
        previews = pool.map(
            lambda name: preview(snapshot, found[name], DrainOptions(), "full"), names
        )
        return sum(len(each.evict) for each in previews)


def objects(nodes: int, pods: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pods of `OWNERS` Deployments spread over the nodes; a budget guards every second one, and a
    third of the pods of each node use a GPU."""
    owners = itertools.cycle(range(OWNERS))
    yield "Namespace", {"metadata": {"name": "default"}, "status": {"phase": "Active"}}
    for number in range(OWNERS // 2):
        labels = {"matchLabels": {"app": f"app-{2 * number}"}}
        spec = {"selector": labels, "minAvailable": 1}
        meta = {"name": f"budget-{number}", "namespace": "default"}
        yield "PodDisruptionBudget", {"metadata": meta, "spec": spec, "status": {}}
    for number in range(nodes):
        name = f"node-{number}"
        yield "Node", {"metadata": {"name": name, "uid": name}, "spec": {}, "status": {}}
        for count in range(pods):
            yield "Pod", _pod(f"{name}-{count}", name, next(owners), gpu=count % 3 == 0)


def _pod(name: str, node: str, owner: int, gpu: bool) -> dict[str, Any]:
    app = f"app-{owner}"
    resources = {"resources": {"limits": {"nvidia.com/gpu": "1"}}} if gpu else {}
    made_by = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": app}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": {"app": app},
            "ownerReferences": [{**made_by, "controller": True}],
        },
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "x", **resources}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
