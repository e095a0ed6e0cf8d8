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
        self._misses: dict[str, int] = {}
        self._look = threading.Event()
        self._settled = 0
        targets = [self._run, self._probe] if kubelet else [self._run]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._store.lock:
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
                if self._stopping.is_set() or self._look.is_set():
                    continue
                if self._store.version == version and (due is None or due > 1):
                    self._settled = version
                self._store.wait(version, due)

    def _step(self) -> float | None:
        scheduling.mark_nodes(self._store)
        workloads.reconcile(self._store)
        if self._look.is_set():
            self._look.clear()
            self.kubelet.after_boot()
        scheduling.schedule(self._store)
        return self.kubelet.step() if self._with_kubelet else None

    def _probe(self) -> None:
        # Each look costs a node a forked sshd: the more nodes, the less often.
        pause = max(self._timing.probe, 0.2 * len(self._probed))
        while not self._stopping.wait(pause):
            try:
                self.probe()
            except Exception:
                _LOG.exception("looking at the nodes failed; it is tried again")

    def probe(self) -> None:
        """Look once at which nodes answer, and which have booted since."""
        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = list(pool.map(lambda node: _answers(node.address), self._probed))
        for node, answered in zip(self._probed, answers, strict=True):
            self._misses[node.name] = 0 if answered else self._misses.get(node.name, 0) + 1
            if answered or self._misses[node.name] >= self._timing.failures:
                self.kubelet.report(node.name, answered)
        # Only the controllers' thread starts and ends pods; it is told to look for boots.
        with self._store.lock:
            self._settled = 0
            self._look.set()
            self._store.wake()


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, _SSH), timeout=_PATIENCE):
            return True
    except OSError:
        return False
