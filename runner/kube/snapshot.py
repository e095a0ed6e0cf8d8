"""What planning needs of a cluster: each list read once, and shared by all nodes of the phase."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from runner.kube.budgets import Budget, parse_budget
from runner.kube.claims import GpuClaims, read_gpu_claims
from runner.kube.cluster import BUDGETS, DAEMONSETS, NODE_NAME, NODES, Cluster
from runner.kube.joined import Joined
from runner.kube.parse import Pod, parse_node
from runner.kube.placement import DaemonSet, parse_daemonset
from runner.kube.state import NodeState

T = TypeVar("T")


@dataclass(slots=True)
class _Known:
    """One thing that is read once: by whoever comes first, while the others wait for it."""

    reading: threading.Lock = field(default_factory=threading.Lock)
    values: list[object] = field(default_factory=list)
    """Empty until it was read."""


_NOTHING = _Known()


class Snapshot:
    """Lists of one cluster, each read when it is first needed. Safe to share between threads.

    Args:
        names: the nodes it is for; of a single one no others are listed.
    """

    def __init__(self, cluster: Cluster, names: Sequence[str] = ()) -> None:
        self.cluster = cluster
        # What cannot be a node's name is none; it must not reach a path or a selector either.
        self._names = frozenset(name for name in names if NODE_NAME.fullmatch(name))
        self._lock = threading.Lock()
        self._known: dict[object, _Known] = {}
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

        return self.once("daemonsets", read)

    def budgets(self) -> tuple[Budget, ...]:
        """All PodDisruptionBudgets."""
        return self.once("budgets", self._read_budgets)

    def budgets_asked(self) -> tuple[Budget, ...]:
        """The same, read once more after the server was asked about evictions."""
        return self.once("budgets asked", self._read_budgets)

    def budgets_anew(self) -> tuple[Budget, ...]:
        """The same, read after this was called."""
        return self._budgets_anew.ask("")

    def gpu_claims(self) -> GpuClaims:
        """Which resource claims hold GPUs."""
        return self.once("claims", lambda: read_gpu_claims(self.cluster.api))

    @property
    def _one(self) -> str:
        """The only node; a field selector can name one, for more the whole list costs less."""
        return next(iter(self._names)) if len(self._names) == 1 else ""

    def _pods(self, labels: str) -> Mapping[str, tuple[Pod, ...]]:
        return self.once(f"pods {labels}", lambda: self.cluster.list_pods(labels, self._one))

    def _read_budgets(self) -> tuple[Budget, ...]:
        items = self.cluster.api.collection(BUDGETS, "list PodDisruptionBudgets")
        return tuple(map(parse_budget, items))

    def knows(self, key: object) -> bool:
        """Whether `once` has the answer for this key already."""
        with self._lock:
            return bool(self._known.get(key, _NOTHING).values)

    def once(self, key: object, read: Callable[[], T]) -> T:
        """What `read` gave the first time it was called for this key. Raises what it raises; then
        the next who asks tries anew."""
        with self._lock:
            known = self._known.setdefault(key, _Known())
        with known.reading:
            if not known.values:
                known.values.append(read())
            value: T = known.values[0]  # type: ignore[assignment]
            return value
