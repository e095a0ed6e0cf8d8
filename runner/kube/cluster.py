"""The cluster side of a run: nodes as plain data in two requests, and what tasks ask of a node."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from runner.kube.api import MERGE_PATCH, PAGE, Api, Json
from runner.kube.joined import Joined
from runner.kube.parse import Pod, parse_node, parse_pod
from runner.kube.state import (
    ApplyObject,
    CheckPod,
    ClusterAction,
    ClusterAnswer,
    ClusterQuery,
    DeleteObject,
    EvictPods,
    KeepCordoned,
    NodesQuery,
    NodeState,
    RestartDaemonSet,
    RestartDaemonSetPod,
    SetLabels,
    SetTaint,
    Uncordon,
    WaitAllocatable,
    WaitRollout,
)

NODES = "/api/v1/nodes"
NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
PODS = "/api/v1/pods"
DAEMONSETS = "/apis/apps/v1/daemonsets"
BUDGETS = "/apis/policy/v1/poddisruptionbudgets"


class Cluster:
    """One Kubernetes cluster. Safe to share between threads; nothing is contacted until asked.

    Args:
        kubeconfig: a kubeconfig file; None: `KUBECONFIG`, else ~/.kube/config, else the service
            account of the pod this runs in.
        context: a context of that file; None: its current context.
    """

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        self.api = Api(kubeconfig, context)
        self._joining = threading.Lock()
        self._pod_reads: dict[str, Joined[Mapping[str, tuple[Pod, ...]]]] = {}
        self._pages = 1
        """Requests that the last list of all pods took: fewer nodes are listed one by one."""
        self.writing_objects = threading.Lock()
        """Held while an object is looked at and written: hosts of a run share objects."""

    def close(self) -> None:
        """Close the connections to the API server."""
        self.api.close()

    def read_nodes(self, names: Sequence[str]) -> dict[str, NodeState]:
        """The named nodes and their pods, by node name; nodes the cluster lacks are left out.

        One list of nodes and one of pods, whatever the number of names (and one more request for
        every further 500 objects).

        Raises:
            ClusterError: the API server is down, refuses, or answers what is not understood.
        """
        from runner.kube.snapshot import Snapshot

        found = Snapshot(self, names).nodes()
        return {name: found[name] for name in dict.fromkeys(names) if name in found}

    def node_names(self) -> tuple[str, ...]:
        """The names of all nodes. Raises ClusterError."""
        nodes = self.api.collection(NODES, "list nodes")
        return tuple(parse_node(item).name for item in nodes)

    def perform(
        self,
        node: str,
        action: ClusterAction,
        *,
        since: datetime,
        progress: Callable[[str], None],
        stop: threading.Event,
        run: str = "",
    ) -> Mapping[str, Any]:
        """Do what a change asks of the cluster, and return when it is seen done.

        Args:
            since: when the node's change began; a DaemonSet pod created later counts as restarted.
            progress: told in words what happens.
            stop: ends a wait promptly.
            run: the run's id, for what is labelled with it.

        Returns:
            What the action has to tell, beside that it is done.

        Raises:
            ClusterError: refused, or not seen done within the action's timeout.
        """
        from runner.kube import actions, objects, pod_check

        match action:
            case CheckPod():
                return pod_check.check_pod(self, node, action, run, progress, stop)
            case EvictPods():
                actions.evict_pods(self, node, action, progress, stop)
            case RestartDaemonSetPod():
                actions.restart_pod(self, node, action, since, progress, stop)
            case WaitAllocatable():
                actions.wait_allocatable(self, node, action, progress, stop)
            case ApplyObject() | DeleteObject() | WaitRollout() | RestartDaemonSet():
                objects.perform(self, action, run, progress, stop)
            case _:
                self._mark(node, action, progress)
        return {}

    def _mark(
        self,
        node: str,
        action: SetLabels | SetTaint | Uncordon | KeepCordoned,
        progress: Callable[[str], None],
    ) -> None:
        """What is written on the node itself."""
        from runner.kube import actions, maintenance

        match action:
            case SetLabels():
                actions.set_labels(self, node, action)
            case SetTaint():
                actions.set_taint(self, node, action)
            case Uncordon():
                actions.uncordon(self, node, progress)
            case KeepCordoned(""):
                maintenance.give_back(self, node)
            case KeepCordoned():
                maintenance.keep_cordoned(self, node, action.reason)

    def look(self, query: ClusterQuery) -> ClusterAnswer:
        """One object, live and as applying would make it; or all nodes. Raises ClusterError."""
        from runner.kube import objects

        if isinstance(query, NodesQuery):
            return tuple(map(parse_node, self.api.collection(NODES, "list nodes")))
        return objects.look(self, query)

    def node(self, name: str) -> Json:
        """A v1 Node as the API gives it. Raises RefusalError with code 404 when it is missing."""
        return self.api.get(f"{NODES}/{name}", f"read node {name}")

    def patch_node(self, name: str, patch: Json, asked: str) -> Json:
        """Merge a patch into a node. Patches set values, so they may be repeated safely."""
        return self.api.request(
            "PATCH",
            f"{NODES}/{name}",
            asked,
            body=patch,
            content_type=MERGE_PATCH,
            repeatable=True,
        )

    def pods_on(self, node: str, labels: str = "") -> tuple[Pod, ...]:
        """The pods bound to a node that match a label selector, by name, as they are now.

        Several threads that ask at the same time share one list.
        """
        with self._joining:
            reads = self._pod_reads.setdefault(labels, Joined(partial(self._pods_of, labels)))
        return reads.ask(node).get(node, ())

    def _pods_of(self, labels: str, nodes: frozenset[str]) -> Mapping[str, tuple[Pod, ...]]:
        if len(nodes) > self._pages:
            return self.list_pods(labels)
        found: dict[str, tuple[Pod, ...]] = {}
        for node in sorted(nodes):
            found.update(self.list_pods(labels, node))
        return found

    def list_pods(self, labels: str = "", node: str = "") -> Mapping[str, tuple[Pod, ...]]:
        """Pods by the name of their node, each node's by their own; one list.

        Args:
            labels: a label selector.
            node: only those bound to it; "": of all nodes.
        """
        items = self.api.collection(
            PODS,
            f"list pods of node {node}" if node else "list pods",
            labels=labels,
            fields=f"spec.nodeName={node}" if node else "",
        )
        if not node:
            self._pages = 1 + len(items) // PAGE
        found: dict[str, list[Pod]] = {}
        for pod in sorted(map(parse_pod, items), key=lambda pod: pod.state.full_name):
            found.setdefault(pod.node, []).append(pod)
        return {name: tuple(pods) for name, pods in found.items()}
