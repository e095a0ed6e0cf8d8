"""What planning needs of a cluster: each list read once, and shared by all nodes of the phase."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from runner.kube.budgets import Budget, parse_budget
from runner.kube.claims import GpuClaims, read_gpu_claims
from runner.kube.cluster import BUDGETS, DAEMONSETS, NODE_NAME, NODES, Cluster
from runner.kube.joined import Joined
from runner.kube.parse import Pod, parse_node
from runner.kube.placement import DaemonSet, parse_daemonset
from runner.kube.state import NodeState

T = TypeVar("T")


class Snapshot:
    """Lists of one cluster, each read when it is first needed. Safe to share between threads.

    Args:
        names: the nodes it is for; of a single one no others are listed.
    """

    def __init__(self, cluster: Cluster, names: Sequence[str] = ()) -> None:
        self.cluster = cluster
        # What cannot be a node's name is none; it must not reach a path or a selector either.
        self._names = frozenset(name for name in names if NODE_NAME.fullmatch(name))
        self._lock = threading.RLock()
        self._known: dict[str, object] = {}
        self._budgets_anew = Joined[tuple[Budget, ...]](lambda _: self._read_budgets())

    def nodes(self) -> dict[str, NodeState]:
        """The nodes it is for and their pods, by name; those that the cluster lacks are left out.

        Raises:
            ClusterError: the API server is down, refuses, or answers what is not understood.
        """
        if not self._names:
            return {}
        fields = f"metadata.name={self._one}" if self._one else ""
        items = self.cluster.api.collection(NODES, "list nodes", fields=fields)
        pods = self._pods("")
        found = (
            parse_node(item, (pod.state for pod in pods.get(item["metadata"]["name"], ())))
            for item in items
        )
        return {node.name: node for node in found if node.name in self._names}

    def pods_on(self, node: str, labels: str = "") -> tuple[Pod, ...]:
        """The pods bound to one of its nodes that match a label selector, by name."""
        return self._pods(labels).get(node, ())

    def daemonsets(self) -> tuple[DaemonSet, ...]:
        """All DaemonSets."""

        def read() -> tuple[DaemonSet, ...]:
            items = self.cluster.api.collection(DAEMONSETS, "list DaemonSets")
            return tuple(map(parse_daemonset, items))

        return self._once("daemonsets", read)

    def budgets(self) -> tuple[Budget, ...]:
        """All PodDisruptionBudgets."""
        return self._once("budgets", self._read_budgets)

    def budgets_anew(self) -> tuple[Budget, ...]:
        """The same, read after this was called."""
        return self._budgets_anew.ask("")

    def gpu_claims(self) -> GpuClaims:
        """Which resource claims hold GPUs."""
        return self._once("claims", lambda: read_gpu_claims(self.cluster.api))

    @property
    def _one(self) -> str:
        """The only node; a field selector can name one, for more the whole list costs less."""
        return next(iter(self._names)) if len(self._names) == 1 else ""

    def _pods(self, labels: str) -> Mapping[str, tuple[Pod, ...]]:
        return self._once(f"pods {labels}", lambda: self.cluster.list_pods(labels, self._one))

    def _read_budgets(self) -> tuple[Budget, ...]:
        items = self.cluster.api.collection(BUDGETS, "list PodDisruptionBudgets")
        return tuple(map(parse_budget, items))

    def _once(self, key: str, read: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._known:
                self._known[key] = read()
            known: T = self._known[key]  # type: ignore[assignment]
            return known
