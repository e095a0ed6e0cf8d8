"""The lab's cluster in one process: as its own program, or inside a test."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from runner.lab.kube.controllers import Controllers
from runner.lab.kube.faults import Fault, FaultKind
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.kubelet import FAST, Timing
from runner.lab.kube.nodes import SimulatedNode
from runner.lab.kube.seed import create, register, reset, seed
from runner.lab.kube.server import ApiServer
from runner.lab.kube.store import Store

PATIENCE = 120.0
"""Seconds a test waits for what should come at once."""


class LabCluster:
    """A small Kubernetes cluster on one address, for tests and for the lab.

        with LabCluster(nodes=["gpu1", "gpu2"]) as cluster:
            cluster.create(seed.deployment("trainer", 2, gpus=1))
            cluster.settle()
            client = connect(cluster.kubeconfig)
            cluster.fail_next(code=429, headers={"Retry-After": "1"}, path="eviction$")

    Args:
        nodes: names, or `SimulatedNode`s (address, root, model, count). GPU pods need a count.
        workloads: also create the lab's DaemonSets, Deployments, budget and Job.
        kubelet: False: pods stay as they are written, as on nodes without a kubelet.
        folder: where objects, certificate and kubeconfig lie; None: a temporary one.
        address, port: where to listen; port 0 takes a free one.
        timing: how long things take; in tests nothing takes time.

    Attributes:
        kubeconfig: path of a kubeconfig with all rights.
        kubeconfig_reader: path of one that may only get, list and watch.
        url: https://address:port
    """

    def __init__(
        self,
        nodes: Sequence[SimulatedNode | str] = (),
        workloads: bool = False,
        kubelet: bool = True,
        folder: Path | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        timing: Timing = FAST,
    ) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="gpurun-kube-")
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.nodes = [SimulatedNode(node) if isinstance(node, str) else node for node in nodes]
        self._workloads = workloads
        self.store = Store(self.folder / "objects.sqlite")
        self._server = ApiServer(self.store, self.folder, address, port)
        self._controllers = Controllers(self.store, self.nodes, timing, kubelet)
        if self.store.empty:
            seed(self.store, self.nodes, workloads)
        else:
            register(self.store, self.nodes)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def kubeconfig_reader(self) -> Path:
        return self.folder / "kubeconfig-reader"

    def start(self) -> Self:
        self._controllers.start()
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop()
        self._controllers.stop()
        self.store.close()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def create(self, item: Json) -> Json:
        """Create an object of any kind; apiVersion may be left out, namespace is "default"."""
        return create(self.store, item)

    def get(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """An object ("Pod", "p1"), or None. Namespaced kinds default to "default"."""
        known = KIND[kind]
        return self.store.get(known, self._namespace(kind, namespace), name)

    def list(self, kind: str, namespace: str = "") -> Sequence[Json]:
        """All objects of a kind, in one namespace or in all."""
        return self.store.list(KIND[kind], namespace)

    def edit(
        self, kind: str, name: str, change: Callable[[Json], Json], namespace: str = ""
    ) -> Json:
        """Replace an object by what `change` makes of it, status included."""
        known = KIND[kind]
        with self.store.lock:
            item = self.store.get(known, self._namespace(kind, namespace), name)
            if item is None:
                raise KeyError(f"{kind} {name}")
            return self.store.put(known, change(item))

    def remove(self, kind: str, name: str, namespace: str = "") -> None:
        """Remove an object at once, as if it had never been; one that is not there is fine."""
        known = KIND[kind]
        with self.store.lock:
            item = self.store.get(known, self._namespace(kind, namespace), name)
            if item is not None:
                self.store.remove(known, item)

    def _namespace(self, kind: str, namespace: str) -> str:
        return (namespace or "default") if KIND[kind].namespaced else ""

    def pods_on(self, node: str) -> Sequence[Json]:
        """The pods bound to a node, terminating ones too."""
        return [pod for pod in self.list("Pod") if pod["spec"].get("nodeName") == node]

    def settle(self, timeout: float = PATIENCE) -> None:
        """Wait until controllers, scheduler and kubelets have nothing left to do.

        Pods that take longer than a second to end by their annotation are not waited for.
        """
        self._controllers.settle(timeout)

    def wait(
        self,
        kind: str,
        name: str,
        until: Callable[[Json | None], object],
        namespace: str = "",
        timeout: float = PATIENCE,
    ) -> Json | None:
        """Wait until `until(object or None)` is true; returns the object.

        Raises:
            TimeoutError: after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            version, item = self.store.version, self.get(kind, name, namespace)
            if until(item):
                return item
            if time.monotonic() > deadline:
                raise TimeoutError(f"{kind} {name} after {timeout:g} s: {item}")
            self.store.wait(version, 0.5)

    def set_answering(self, node: str, answers: bool) -> None:
        """Let a node's kubelet fall silent (Ready becomes Unknown, nothing ends), or return."""
        self._controllers.kubelet.report(node, answers)

    def probe(self) -> None:
        """Look now at which nodes answer on port 22, and which have booted since."""
        self._controllers.probe()

    def advertise(self, node: str, counts: Mapping[str, int]) -> None:
        """Let a node advertise these NVIDIA resources from now on."""
        self._controllers.kubelet.advertise(node, counts)

    def account(self, namespace: str, name: str, seconds: float = 3600.0) -> str:
        """A token of a service account, which may do what its roles allow."""
        return self._server.accounts.token(namespace, name, seconds)[0]

    def expire_tokens(self) -> None:
        """Let all tokens of service accounts be expired."""
        self._server.accounts.revoke()

    def fail_next(
        self,
        count: int | None = 1,
        kind: FaultKind = "status",
        code: int = 500,
        message: str = "injected fault",
        headers: Mapping[str, str] | None = None,
        method: str = "",
        path: str = "",
    ) -> None:
        """Let the next matching requests fail; see `faults.Fault` for the arguments."""
        self._server.faults.add(Fault(kind, code, message, headers or {}, method, path, count))

    def clear_faults(self) -> None:
        """Forget all faults; hanging requests break off."""
        self._server.faults.clear()

    def reset(self) -> None:
        """Back to the objects of the first start."""
        self._server.faults.clear()
        reset(self.store, self.nodes, self._workloads)
