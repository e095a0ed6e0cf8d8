"""The cluster these tests are about: the lab's API, or the one that GPURUN_TEST_KUBECONFIG names.

They ask it through its API only, with nodes, namespaces and objects of their own whose names carry
a prefix, and remove them. A real cluster needs an API server and a controller manager. No kubelet
works on the nodes made here: the tests write the status of pods, and end them, themselves.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.kube.api import MERGE_PATCH, RefusalError
from runner.kube.cluster import Cluster
from runner.lab.kube import LabCluster

PATIENCE = 60.0
"""Seconds a controller may take to see a change."""


@dataclass
class Real:
    """A cluster, and what a test has made there."""

    cluster: Cluster
    kubeconfig: Path
    prefix: str = field(default_factory=lambda: f"gpurun-test-{uuid.uuid4().hex[:6]}")
    made: list[str] = field(default_factory=list)

    def create(self, path: str, item: Mapping[str, Any]) -> str:
        """Create an object; its path. Asked again while its namespace is being set up."""
        name = item["metadata"]["name"]

        def done() -> bool:
            try:
                self.cluster.api.request(
                    "POST", path, f"create {name}", body=item, query={"fieldManager": "somebody"}
                )
            except RefusalError as error:
                if error.code == 403 and "serviceaccount" in error.said:
                    return False
                raise
            return True

        self.until(done, f"{name} can be created")
        self.made.append(f"{path}/{name}")
        return self.made[-1]

    def status(self, path: str, status: Mapping[str, Any]) -> None:
        """Write the status of an object, as a kubelet does."""
        body = {"status": status}
        self.cluster.api.request(
            "PATCH", f"{path}/status", "write a status", body=body, content_type=MERGE_PATCH
        )

    def get(self, path: str) -> Mapping[str, Any]:
        return self.cluster.api.get(path, "read an object")

    def exists(self, path: str) -> bool:
        try:
            self.get(path)
        except RefusalError as error:
            if error.code == 404:
                return False
            raise
        return True

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"this never became true: {what}"
            time.sleep(0.1)

    def node(self, gpus: int = 2) -> str:
        """A node that nothing runs on; its name."""
        name = f"{self.prefix}-{len(self.made)}"
        path = self.create("/api/v1/nodes", {"metadata": {"name": name}})
        offered = {"pods": "110", "nvidia.com/gpu": str(gpus)}
        self.status(path, {"capacity": offered, "allocatable": offered})
        return name

    def namespace(self) -> str:
        self.create("/api/v1/namespaces", {"metadata": {"name": self.prefix}})
        return self.prefix

    def pod(self, namespace: str, name: str, node: str, **labels: str) -> str:
        """A running and ready pod on a node; its path."""
        container = {"name": "c", "image": "registry.invalid/x:1"}
        spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0}
        item = {"metadata": {"name": name, "labels": labels}, "spec": spec}
        path = self.create(f"/api/v1/namespaces/{namespace}/pods", item)
        ready = {"type": "Ready", "status": "True"}
        self.status(path, {"phase": "Running", "conditions": [ready]})
        return path

    def remove(self) -> None:
        """Remove what was made, the last first."""
        body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        for path in reversed(self.made):
            with suppress(RefusalError):
                self.cluster.api.request("DELETE", path, "remove an object", body=body)


@pytest.fixture(scope="module")
def kubeconfig() -> Iterator[Path]:
    named = os.environ.get("GPURUN_TEST_KUBECONFIG")
    if named:
        yield Path(named)
        return
    with LabCluster(kubelet=False) as lab:
        yield lab.kubeconfig


@pytest.fixture
def real(kubeconfig: Path) -> Iterator[Real]:
    real = Real(Cluster(kubeconfig), kubeconfig)
    yield real
    real.remove()
    real.cluster.close()
