"""The threads that keep the cluster moving: controllers, scheduler, kubelets, node probes."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runner.lab.kube import scheduling, workloads
from runner.lab.kube.kubelet import Kubelet, Timing
from runner.lab.kube.nodes import SimulatedNode
from runner.lab.kube.store import Store

_LOG = logging.getLogger(__name__)
_SSH = 22
_PATIENCE = 1.0
"""Seconds a node's port 22 may take to answer."""


class Controllers:
    """Runs all controllers until stopped.

    Args:
        kubelet: False leaves pods as they are: nothing starts, ends or is probed.
    """

    def __init__(
        self,
        store: Store,
        nodes: Sequence[SimulatedNode],
        timing: Timing,
        kubelet: bool = True,
    ) -> None:
        self.kubelet = Kubelet(store, nodes, timing)
        self._store = store
        self._timing = timing
        self._probed = [node for node in nodes if node.address] if kubelet else []
        self._with_kubelet = kubelet
        self._stopping = threading.Event()
        self._settled = 0
        targets = [self._run, self._probe] if kubelet else [self._run]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._store.wake()
        for thread in self._threads:
            thread.join()

    def settle(self, timeout: float) -> None:
        """Wait until every write was seen and nothing short is pending.

        Raises:
            TimeoutError: after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with self._store.lock:
                if self._settled == self._store.version:
                    return
            time.sleep(0.005)
        raise TimeoutError(f"The lab's cluster did not settle within {timeout:g} s")

    def _run(self) -> None:
        while not self._stopping.is_set():
            version = self._store.version
            try:
                due = self._step()
            except Exception:
                # A controller must outlive any object a client managed to store.
                _LOG.exception("a controller failed; it goes on with the next change")
                due = 1.0
            with self._store.lock:
                if self._store.version == version and (due is None or due > 1):
                    self._settled = version
            self._store.wait(version, due)

    def _step(self) -> float | None:
        scheduling.mark_nodes(self._store)
        workloads.reconcile(self._store)
        if not self._with_kubelet:
            return None
        scheduling.schedule(self._store)
        return self.kubelet.step()

    def _probe(self) -> None:
        misses = {node.name: 0 for node in self._probed}
        pause = max(self._timing.probe, 0.2 * len(self._probed))
        with ThreadPoolExecutor(max_workers=16) as pool:
            while not self._stopping.wait(pause):
                answers = pool.map(lambda node: _answers(node.address), self._probed)
                for node, answered in zip(self._probed, answers, strict=True):
                    misses[node.name] = 0 if answered else misses[node.name] + 1
                    if answered or misses[node.name] >= self._timing.failures:
                        self.kubelet.report(node.name, answered)
                self.kubelet.after_boot()


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, _SSH), timeout=_PATIENCE):
            return True
    except OSError:
        return False
