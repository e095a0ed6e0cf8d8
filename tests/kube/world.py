"""A piece of a cluster for one test, made and looked at through the API alone.

Everything has the prefix of `names` and is removed afterwards. No kubelet works on the nodes made
here: the world plays it. What controllers do is theirs, and waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.kube.api import MERGE_PATCH, Api, RefusalError
from runner.kube.cluster import Cluster
from runner.lab.kube.faults import Fault
from runner.lab.kube.kinds import KIND
from tests.kube import objects
from tests.kube.names import NODE, NS, PREFIX, node_name
from tests.kube.proxy import FaultProxy

Json = dict[str, Any]

DEADLINE = 120.0
"""Seconds after which a test that waits has failed; never reached when all is well."""
HEARTBEAT = 10.0
"""Seconds between two reports of a node. Its controller takes it for lost after 40 s without."""
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "controller": True}
"""A controller that no program acts for: such pods are managed, and nobody replaces them."""
READY = {"type": "Ready", "status": "True"}
LATE = {"gpurun-test-ends": "late"}
"""The label of pods that need their whole grace period to end."""
RUNNING = {"phase": "Running", "conditions": [READY]}
MINE = {"gpurun-test": PREFIX}
"""The label of the nodes made here: DaemonSets of these tests stay off any others."""


def path_of(kind: str, namespace: str = "", name: str = "") -> str:
    """Path of an object or of a collection. Namespaced kinds are in the tests' namespace."""
    known = KIND[kind]
    base = f"/apis/{known.api_version}" if known.group else "/api/v1"
    place = f"/namespaces/{namespace or NS}" if known.namespaced else ""
    return f"{base}{place}/{known.plural}" + (f"/{quote(name)}" if name else "")


class World:
    """Objects of one test.

    Args:
        direct: the cluster itself; what the test does beside gpurun is not counted and never fails.
        proxy: what gpurun asks instead.

    Attributes:
        cluster: gpurun's connection.
        said: what it told.
        starts: the status that the kubelet gives a pod it starts.
    """

    def __init__(self, direct: Api, proxy: FaultProxy) -> None:
        self.direct, self.proxy = direct, proxy
        self.kubeconfig: Path = proxy.kubeconfig
        self.cluster = Cluster(self.kubeconfig)
        self.said: list[str] = []
        self.stop = threading.Event()
        self.starts: Callable[[Json], Mapping[str, Any]] = lambda pod: RUNNING
        self._made: list[str] = []
        self._owners: dict[str, str] = {}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._in_background(self._heartbeat, HEARTBEAT)

    def close(self) -> None:
        """Remove whatever was made, and wait until it is gone."""
        self._ended.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        self.proxy.reset()
        self.cluster.close()
        for path in dict.fromkeys(reversed(self._made)):
            self._remove(path)
        self.until(self._empty, "everything is removed")
        self._remove(path_of("Node"), labelSelector=f"gpurun-test={PREFIX}")

    def clear(self, kind: str) -> None:
        """Remove all of this kind, whoever made them."""
        self._remove(path_of(kind))

    def _remove(self, path: str, **query: str) -> None:
        """Delete what is there, at once."""
        body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        try:
            self.ask("DELETE", path, body, **query)
        except RefusalError as error:
            if error.code != 404:
                raise

    def _empty(self) -> bool:
        """Whether the pods are gone, those of controllers too, whatever holds them."""
        for kind in ("ReplicaSet", "Pod"):
            self.clear(kind)
        left = self.found("Pod")
        for pod in left:
            if pod["metadata"].get("finalizers"):
                self.change("Pod", pod["metadata"]["name"], metadata={"finalizers": None})
        return not left

    def progress(self, text: str) -> None:
        self.said.append(text)

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

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for what a controller does."""
        deadline = time.monotonic() + DEADLINE
        pause = 0.005
        while not condition():
            assert time.monotonic() < deadline, f"this never became true: {what}"
            time.sleep(pause)
            pause = min(0.2, pause * 2)

    # The API.

    def ask(self, method: str, path: str, body: object = None, **query: str) -> Json:
        """One request beside gpurun's, as somebody else."""
        query.setdefault("fieldManager", "somebody")
        kind = MERGE_PATCH if method == "PATCH" else "application/json"
        return dict(
            self.direct.request(
                method, path, f"{method} {path}", body=body, content_type=kind, query=query
            )
        )

    def create(self, kind: str, item: Json, namespace: str = "") -> Json:
        """Create an object; asked again while its namespace is being set up."""
        path = path_of(kind, namespace)
        head = {"apiVersion": KIND[kind].api_version, "kind": kind}
        made: list[Json] = []

        def done() -> bool:
            try:
                made.append(self.ask("POST", path, {**item, **head}))
            except RefusalError as error:
                if error.code == 403 and "serviceaccount" in error.said:
                    return False
                raise
            return True

        self.until(done, f"{kind} {item['metadata']} can be created")
        self.removes(kind, made[0]["metadata"]["name"], namespace)
        return made[0]

    def removes(self, kind: str, name: str, namespace: str = "") -> None:
        """Remove this object at the end, whoever makes it. (Pods and nodes always are.)"""
        if kind not in ("Pod", "Node"):
            self._made.append(path_of(kind, namespace, name))

    def found(self, kind: str, namespace: str = "", labels: str = "") -> Sequence[Json]:
        path = path_of(kind, namespace)
        return [dict(item) for item in self.direct.collection(path, "list", labels=labels)]

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        return self.ask("GET", path_of(kind, namespace, name))

    def has(self, kind: str, name: str, namespace: str = "") -> bool:
        try:
            self.get(kind, name, namespace)
        except RefusalError as error:
            if error.code != 404:
                raise
            return False
        return True

    def change(self, kind: str, name: str, namespace: str = "", **parts: Any) -> Json:
        """Merge values into spec and metadata, or, as a kubelet or controller does, status."""
        path, answer = path_of(kind, namespace, name), {}
        status = parts.pop("status", None)
        if parts:
            answer = self.ask("PATCH", path, parts)
        if status is not None:
            answer = self.ask("PATCH", f"{path}/status", {"status": status})
        return answer

    def delete(self, kind: str, name: str, namespace: str = "", grace: int = 0) -> None:
        self.ask("DELETE", path_of(kind, namespace, name), {"gracePeriodSeconds": grace})

    @property
    def requests(self) -> int:
        """How many requests gpurun has sent."""
        return self.cluster.api.requests

    @property
    def written(self) -> list[str]:
        """What gpurun asked for that may have changed something."""
        return self.proxy.written

    def fault(self, **fault: Any) -> None:
        """Let requests of gpurun fail."""
        self.proxy.faults.add(Fault(**fault))

    # What is in the cluster.

    def node(self, number: int | str = 1, gpus: int = 8, labels: Mapping[str, str] = {}) -> Json:
        """A node that is ready, as its kubelet reports."""
        name = node_name(number)
        offers = {"cpu": "64", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
        ready = {**READY, "reason": "KubeletReady", "lastHeartbeatTime": objects.now()}
        status = {"capacity": offers, "allocatable": offers, "conditions": [ready]}
        meta = {"name": name, "labels": {**MINE, **labels}}
        made = self.create("Node", {"metadata": meta, "status": status})
        if made["spec"].get("taints"):
            # Admission takes a new node for one that is not ready.
            return self.change("Node", name, spec={"taints": None})
        return made

    def cordon(self, name: str = NODE, cordoned: bool = True) -> None:
        self.change("Node", name, spec={"unschedulable": cordoned or None})

    def pod(self, item: Json) -> Json:
        """A pod bound to its node, and its status as the kubelet reports it."""
        meta, status = dict(item["metadata"]), item["status"]
        owners = [self._existing(owner) for owner in meta.pop("ownerReferences", ())]
        if owners:
            meta["ownerReferences"] = owners
        spec = {key: value for key, value in item.items() if key != "status"}
        made = self.create("Pod", {**spec, "metadata": meta}, meta["namespace"])
        if status.get("phase") == "Pending":
            return made
        return self.change("Pod", meta["name"], meta["namespace"], status=status)

    def _existing(self, owner: Json) -> Json:
        """An owner is there: what belongs to nobody is garbage."""
        if owner["uid"]:
            return owner
        name = owner["name"]
        if name not in self._owners:
            made = self.create("ConfigMap", {"metadata": {"name": name}})
            self._owners[name] = made["metadata"]["uid"]
        return {**OWNER, "name": name, "uid": self._owners[name]}

    def budget(self, name: str = "keep", **spec: Any) -> Json:
        """A disruption budget whose pods the controller has counted."""
        body = {"selector": {"matchLabels": {"app": "web"}}, **spec}
        self.create("PodDisruptionBudget", {"metadata": {"name": name}, "spec": body})
        self.counted(name)
        return self.get("PodDisruptionBudget", name)

    def counted(self, name: str = "keep") -> None:
        """Wait until the disruption controller has seen the pods as they are."""

        def seen() -> bool:
            budget = self.get("PodDisruptionBudget", name)
            status, selector = budget.get("status") or {}, budget["spec"]["selector"]
            wanted = (selector.get("matchLabels") or {}).items()
            pods = [pod for pod in self.found("Pod") if wanted <= labels_of(pod).items()]
            healthy = sum(is_ready(pod) for pod in pods)
            return bool(
                status.get("observedGeneration") == budget["metadata"]["generation"]
                and status.get("currentHealthy", 0) == healthy
                and status.get("expectedPods", 0) >= healthy
            )

        self.until(seen, f"budget {name} is counted")

    def replicas(self, name: str, *pods: Json) -> None:
        """A ReplicaSet that adopts these pods; those that replace them find no node."""
        labels = labels_of(pods[0])
        for pod in pods:
            pod["metadata"].pop("ownerReferences", None)
            self.pod(pod)
        nowhere = {"nodeSelector": {"gpurun-test": "nowhere"}}
        spec = {
            "replicas": len(pods),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {**CONTAINERS, **nowhere}},
        }
        self.create("ReplicaSet", {"metadata": {"name": name}, "spec": spec})
        names = [pod["metadata"]["name"] for pod in pods]
        self.until(lambda: all(map(self._adopted, names)), f"{name} has adopted {names}")

    def _adopted(self, name: str) -> bool:
        return bool(self.get("Pod", name)["metadata"].get("ownerReferences"))

    # DaemonSets.

    def daemonset(
        self,
        name: str,
        selector: Mapping[str, str] = {},
        tolerations: Sequence[Mapping[str, str]] = (),
    ) -> Json:
        """A DaemonSet; its controller places one pod on every node made here that is selected."""
        labels = {"daemon": name}
        spec = {
            **CONTAINERS,
            "nodeSelector": {**MINE, **selector},
            "terminationGracePeriodSeconds": 1,
            "tolerations": list(tolerations),
        }
        template = {"metadata": {"labels": labels}, "spec": spec}
        body = {"selector": {"matchLabels": labels}, "template": template}
        body["updateStrategy"] = {"type": "OnDelete"}
        return self.create("DaemonSet", {"metadata": {"name": name}, "spec": body})

    def daemon_pod(self, name: str, ready: bool = True, node: str = NODE) -> Json:
        """The pod of a DaemonSet on a node, once it is there."""
        found: list[Json] = []

        def placed() -> bool:
            found[:] = [
                pod
                for pod in self.found("Pod", labels=f"daemon={name}")
                if pod["spec"].get("nodeName") == node
                and "deletionTimestamp" not in pod["metadata"]
            ]
            return bool(found)

        self.until(placed, f"DaemonSet {name} has a pod on {node}")
        status = RUNNING if ready else {"phase": "Running", "conditions": []}
        return self.change("Pod", found[0]["metadata"]["name"], status=status)

    # The kubelet.

    def kubelet(self, step: Callable[[], object] | None = None) -> None:
        """Let the kubelets of these nodes work.

        Args:
            step: what they do with the pods as they are; None: start them and end terminating ones.
        """
        self._in_background(step or self.kubelet_works, 0.08)

    def _in_background(self, step: Callable[[], object], pause: float) -> None:
        """Do this again and again until the world ends."""

        def loop() -> None:
            while not self._ended.wait(pause):
                try:
                    step()
                except RefusalError as error:  # gone, or changed, since it was listed
                    if error.code not in (404, 409):
                        raise

        self._threads.append(threading.Thread(target=loop, daemon=True))
        self._threads[-1].start()

    def _heartbeat(self) -> None:
        """Report the nodes that are ready anew: others would soon count as lost."""
        for node in self.found("Node", labels=f"gpurun-test={PREFIX}"):
            if ready := [entry for entry in node["status"].get("conditions", ()) if is_true(entry)]:
                beat = {**ready[0], "lastHeartbeatTime": objects.now()}
                self.change("Node", node["metadata"]["name"], status={"conditions": [beat]})

    def kubelet_works(self) -> None:
        """Start pods, and end terminating ones."""
        for pod in self.found("Pod"):
            if ends_now(pod):
                self.end(pod)
            elif pod["spec"].get("nodeName") and pod["status"]["phase"] == "Pending":
                name = pod["metadata"]["name"]
                self.change("Pod", name, status=self.starts(pod))

    def end(self, pod: Json) -> None:
        """The kubelet has ended this pod."""
        meta = pod["metadata"]
        only = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        self.ask("DELETE", path_of("Pod", meta["namespace"], meta["name"]), only)


CONTAINERS = {"containers": [{"name": "c", "image": "registry.invalid/x:1"}]}


def labels_of(item: Json) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and any(map(is_true, conditions))


def is_true(condition: Json) -> bool:
    """Whether this says that its object is ready."""
    return bool(condition["type"] == "Ready" and condition["status"] == "True")


def ends_now(pod: Json) -> bool:
    """Whether a kubelet has ended the containers of a terminating pod."""
    until = pod["metadata"].get("deletionTimestamp", "")
    return bool(until) and (not LATE.items() <= labels_of(pod).items() or until <= objects.now())
