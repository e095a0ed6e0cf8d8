"""A cluster of the lab for one test, with a kubelet and a DaemonSet controller that can be held."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runner.kube.cluster import Cluster
from runner.lab.kube.faults import Fault
from runner.lab.kube.kinds import KIND
from runner.lab.kube.server import ApiServer

Json = dict[str, Any]
_numbers = itertools.count(1)

DEADLINE = 120.0
"""Seconds after which a test that waits has failed; never reached when all is well."""


class World:
    """Objects in a store, served by the lab's API server.

    Args:
        server: is emptied first; starting one per test would cost more than the test.
    """

    def __init__(self, server: ApiServer, kubeconfig: Path) -> None:
        self.server = server
        self.store = server.store
        self.kubeconfig = kubeconfig
        self.store.clear()
        self.cluster = Cluster(self.kubeconfig)
        self.said: list[str] = []
        self.stop = threading.Event()
        self._ended = threading.Event()
        self._controllers: threading.Thread | None = None
        for name in ("default", "kube-system", "gpu-operator"):
            self.put("Namespace", {"metadata": {"name": name}, "status": {"phase": "Active"}})

    def close(self) -> None:
        self._ended.set()
        self.store.wake()
        if self._controllers:
            self._controllers.join(DEADLINE)
        self.server.faults.clear()
        self.cluster.close()

    def progress(self, text: str) -> None:
        self.said.append(text)

    def put(self, kind: str, item: Json, age: float = 3600.0) -> Json:
        """Store an object as it is, `age` seconds old; a new one gets a UID."""
        created = datetime.now(UTC) - timedelta(seconds=age)
        meta = {
            "uid": f"uid-{next(_numbers)}",
            "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **item["metadata"],
        }
        known = KIND[kind]
        head = {"apiVersion": known.api_version, "kind": kind}
        return self.store.put(known, {"spec": {}, "status": {}, **item, **head, "metadata": meta})

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        item = self.store.get(KIND[kind], namespace, name)
        assert item is not None, f"no {kind} {namespace}/{name}"
        return item

    def has(self, kind: str, name: str, namespace: str = "") -> bool:
        return self.store.get(KIND[kind], namespace, name) is not None

    def change(self, kind: str, name: str, namespace: str = "", **parts: Any) -> Json:
        """Merge values into spec, status or metadata of a stored object."""
        with self.store.lock:
            item = self.get(kind, name, namespace)
            for part, values in parts.items():
                item = {**item, part: {**item.get(part, {}), **values}}
            return self.store.put(KIND[kind], item)

    def node(self, name: str = "gpu-1", gpus: int = 8, **labels: str) -> Json:
        offers = {"cpu": "64", "nvidia.com/gpu": str(gpus)}
        named = {key.replace("__", "."): value for key, value in labels.items()}
        status = {
            "capacity": offers,
            "allocatable": offers,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        return self.put("Node", {"metadata": {"name": name, "labels": named}, "status": status})

    def pod(self, item: Json, age: float = 3600.0) -> Json:
        return self.put("Pod", item, age)

    def budget(self, name: str = "keep", **spec: Any) -> Json:
        body = {"selector": {"matchLabels": {"app": "web"}}, **spec}
        item = {"metadata": {"name": name, "namespace": "default"}, "spec": body}
        return self.put("PodDisruptionBudget", item)

    def daemonset(self, name: str, namespace: str = "gpu-operator", **selector: str) -> Json:
        """A DaemonSet placed by node labels (`__` stands for a dot, `___` for a slash)."""
        chosen = {k.replace("___", "/").replace("__", "."): v for k, v in selector.items()}
        template = {"spec": {"nodeSelector": {k.replace("_", "-"): v for k, v in chosen.items()}}}
        meta = {"name": name, "namespace": namespace}
        return self.put("DaemonSet", {"metadata": meta, "spec": {"template": template}})

    def fault(self, **fault: Any) -> None:
        self.server.faults.add(Fault(**fault))

    def run_controllers(self, ready: bool = True) -> None:
        """Start a kubelet that ends terminating pods and a DaemonSet controller."""

        def loop() -> None:
            version = 0
            while not self._ended.is_set():
                self.finish_terminating()
                self.place_daemonsets(ready)
                version = self.store.version
                self.store.wait(version, 0.02)

        self._controllers = threading.Thread(target=loop, daemon=True)
        self._controllers.start()

    def finish_terminating(self) -> None:
        """What a kubelet does with pods that are to go."""
        with self.store.lock:
            for pod in self.store.list(KIND["Pod"]):
                if "deletionTimestamp" in pod["metadata"]:
                    self.store.remove(KIND["Pod"], pod)

    def place_daemonsets(self, ready: bool = True) -> None:
        """One pod of every DaemonSet on every node it selects, none elsewhere."""
        with self.store.lock:
            for item in self.store.list(KIND["DaemonSet"]):
                for node in self.store.list(KIND["Node"]):
                    self._place(item, node, ready)

    def _place(self, item: Json, node: Json, ready: bool) -> None:
        selector = item["spec"]["template"]["spec"]["nodeSelector"]
        labels = node["metadata"].get("labels") or {}
        wanted = all(labels.get(key) == value for key, value in selector.items())
        uid, name = item["metadata"]["uid"], node["metadata"]["name"]
        here = [
            pod
            for pod in self.store.list(KIND["Pod"], item["metadata"]["namespace"])
            if pod["spec"].get("nodeName") == name
            and pod["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid
        ]
        if here and not wanted:
            self.store.remove(KIND["Pod"], here[0])
        if wanted and not here:
            self.pod(self.daemon_pod(item, name, ready), age=0.0)

    def daemon_pod(self, item: Json, node: str, ready: bool = True) -> Json:
        meta = item["metadata"]
        owner = {"kind": "DaemonSet", "name": meta["name"], "uid": meta["uid"], "controller": True}
        return {
            "metadata": {
                "name": f"{meta['name']}-{next(_numbers)}",
                "namespace": meta["namespace"],
                "ownerReferences": [owner],
            },
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": []},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": str(ready)}],
            },
        }

    def when(self, text: str, then: Callable[[], object]) -> Callable[[str], None]:
        """A progress callback that acts the first time it is told of `text`."""
        done = False

        def progress(said: str) -> None:
            nonlocal done
            self.progress(said)
            if text in said and not done:
                done = True
                then()

        return progress
