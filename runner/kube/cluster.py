"""The cluster side of a run: nodes as plain data in two requests, and what tasks ask of a node."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.kube.api import MERGE_PATCH, Api, Json
from runner.kube.parse import Pod, parse_node, parse_pod
from runner.kube.state import (
    ApplyObject,
    CheckPod,
    ClusterAction,
    DeleteObject,
    NodeState,
    ObjectQuery,
    ObjectState,
    PodState,
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
        # What cannot be a node's name is none; it must not reach a path or a selector either.
        wanted = {name for name in names if NODE_NAME.fullmatch(name)}
        if not wanted:
            return {}
        # A field selector can name one node only; for more, the whole list costs one request.
        one = next(iter(wanted)) if len(wanted) == 1 else ""
        nodes = self.api.collection(
            NODES, "list nodes", fields=f"metadata.name={one}" if one else ""
        )
        pods = self.api.collection(PODS, "list pods", fields=f"spec.nodeName={one}" if one else "")
        by_node: dict[str, list[PodState]] = {name: [] for name in wanted}
        for pod in map(parse_pod, pods):
            if pod.node in by_node:
                by_node[pod.node].append(pod.state)
        states = (parse_node(item) for item in nodes)
        found = {state.name: item for state, item in zip(states, nodes, strict=True)}
        return {
            name: parse_node(found[name], by_node[name])
            for name in dict.fromkeys(names)
            if name in found
        }

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
            case Uncordon():
                actions.uncordon(self, node, progress)
            case SetLabels():
                actions.set_labels(self, node, action)
            case SetTaint():
                actions.set_taint(self, node, action)
            case RestartDaemonSetPod():
                actions.restart_pod(self, node, action, since, progress, stop)
            case WaitAllocatable():
                actions.wait_allocatable(self, node, action, progress, stop)
            case ApplyObject() | DeleteObject() | WaitRollout() | RestartDaemonSet():
                objects.perform(self, action, run, progress, stop)
        return {}

    def look(self, query: ObjectQuery) -> ObjectState:
        """One object, live and as applying would make it. Raises ClusterError."""
        from runner.kube import objects

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
        """The pods bound to a node that match a label selector, by name."""
        items = self.api.collection(
            PODS, f"list pods of node {node}", labels=labels, fields=f"spec.nodeName={node}"
        )
        return tuple(sorted(map(parse_pod, items), key=lambda pod: pod.state.full_name))
