"""What a change can ask of the cluster, each done only when it is seen done."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runner.errors import ClusterError
from runner.kube.api import RefusalError
from runner.kube.parse import Pod, parse_node, quantity
from runner.kube.state import (
    DrainOptions,
    EvictPods,
    NodeState,
    RestartDaemonSetPod,
    SetLabels,
    SetTaint,
    WaitAllocatable,
)
from runner.kube.waiting import Progress, wait_until

if TYPE_CHECKING:
    from runner.kube.cluster import Cluster

APART = 1.0
"""Seconds two equal readings of allocatable must lie apart: it drops for a moment when the
device plugin registers anew."""
CONFLICTS = 8
"""How often a list of taints is made anew because the node changed meanwhile."""


def set_labels(cluster: Cluster, node: str, action: SetLabels) -> None:
    """Set or remove labels and read them back from the answer."""
    labels = dict(action.labels)
    patch = {"metadata": {"labels": labels}}
    answer = parse_node(cluster.patch_node(node, patch, f"set labels of node {node}"))
    wrong = [key for key, value in labels.items() if answer.labels.get(key) != value]
    if wrong:
        raise ClusterError(
            f"node {node}: labels were accepted but are not as wanted: {', '.join(wrong)}",
            "something else on the cluster sets these labels",
        )


def set_taint(cluster: Cluster, node: str, action: SetTaint) -> None:
    """Set or remove one taint. The list of taints is replaced whole, so it must be unchanged."""
    for _ in range(CONFLICTS):
        item = cluster.node(node)
        taints = tainted(item["spec"].get("taints") or (), action)
        version = {"resourceVersion": item["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "spec": {"taints": taints}}
        try:
            cluster.patch_node(node, patch, f"set a taint of node {node}")
            return
        except RefusalError as error:
            if error.code != 409:
                raise
    raise ClusterError(
        f"node {node}: its taints could not be set: it was changed by others {CONFLICTS} times",
        "something on the cluster writes this node all the time",
    )


def uncordon(cluster: Cluster, node: str, progress: Progress) -> None:
    """Make a node schedulable again, on condition that no run has taken it meanwhile."""
    from runner.kube.maintenance import CORDON_REASON, RUN, change

    def patch(state: NodeState) -> Mapping[str, Any]:
        holder = state.annotations.get(RUN, "")
        if holder:
            raise ClusterError(
                f"run {holder} has not finished with node {node}", f"gpurun resume {holder}"
            )
        reason = state.annotations.get(CORDON_REASON)
        if reason is not None:
            raise ClusterError(f"node {node} was taken out of service meanwhile: {reason}")
        return {"spec": {"unschedulable": None}} if state.unschedulable else {}

    after = change(cluster, node, patch, f"uncordon node {node}")
    if after.unschedulable:
        raise ClusterError(
            f"node {node}: the uncordon was accepted but the node is still cordoned",
            "something on the cluster cordons it again; find it before going on",
        )
    progress(f"uncordoned {node}")


def tainted(taints: Sequence[Mapping[str, Any]], action: SetTaint) -> list[Mapping[str, Any]]:
    """A node's taints after the action; others stay as they are, `timeAdded` included."""

    def meant(taint: Mapping[str, Any]) -> bool:
        return taint["key"] == action.key and action.effect in ("", taint["effect"])

    kept = [taint for taint in taints if not meant(taint)]
    if not action.present:
        return kept
    value = {"value": action.value} if action.value else {}
    return [*kept, {"key": action.key, **value, "effect": action.effect}]


def evict_pods(
    cluster: Cluster, node: str, action: EvictPods, progress: Progress, stop: threading.Event
) -> None:
    """Evict pods as a drain does, disruption budgets honoured; those that are gone are fine."""
    from runner.kube.drain import drain
    from runner.kube.snapshot import Snapshot

    options = DrainOptions(
        delete_emptydir_data=action.delete_emptydir_data,
        force=action.force,
        timeout=action.timeout,
    )
    try:
        drain(Snapshot(cluster, [node]), node, options, "full", progress, stop, only=action.uids)
    except ClusterError as error:
        text = f"node {node}: pods could not be evicted: {error.message}"
        raise ClusterError(text, "what is named there still runs on the node") from error


def wait_allocatable(
    cluster: Cluster, node: str, action: WaitAllocatable, progress: Progress, stop: threading.Event
) -> None:
    """Wait for two readings at least a second apart that show the wanted number."""
    since: float | None = None

    def missing() -> str:
        nonlocal since
        seen = allocatable(cluster, node, action.resource)
        if seen != action.value:
            since = None
            return f"{seen} so far"
        now = time.monotonic()
        since = now if since is None else since
        return "" if now - since >= APART else f"{seen} seen once, looking again"

    wait_until(
        missing,
        doing=f"node {node}: waiting for {action.value} allocatable {action.resource}",
        timeout=action.timeout,
        progress=progress,
        stop=stop,
        advice=f"see the log of the device plugin's pod on {node}, and what it is told to offer "
        "(its MIG strategy, sharing)",
    )


def allocatable(cluster: Cluster, node: str, resource: str) -> int:
    """How many of a resource the node offers now; 0 when it does not name it."""
    text = parse_node(cluster.node(node)).allocatable.get(resource, "0")
    try:
        return quantity(text)
    except ValueError as error:
        raise ClusterError(f"node {node}: allocatable {resource}: {error}") from error


def restart_pod(
    cluster: Cluster,
    node: str,
    action: RestartDaemonSetPod,
    since: datetime,
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Delete the DaemonSet's old pods on the node and wait for a Ready one that is not old."""
    name = f"{action.namespace}/{action.name}"
    uid = daemonset_uid(cluster, action)
    # creationTimestamp is by the server's clock.
    began = since + cluster.api.clock_offset
    old = {pod.state.uid: pod for pod in owned(cluster, node, uid) if not created_after(pod, began)}
    for pod in old.values():
        if not pod.state.deleting:
            progress(f"deleting {pod.state.full_name} on {node} so that {name} starts it anew")
            delete(cluster, pod)

    def missing() -> str:
        pods = owned(cluster, node, uid)
        left = [pod.state.full_name for pod in pods if pod.state.uid in old]
        if left:
            return f"{', '.join(left)} is still terminating"
        new = [pod.state for pod in pods if not pod.state.deleting]
        if not new:
            return "no new pod yet"
        waiting = [pod.full_name for pod in new if not pod.ready]
        return f"{', '.join(waiting)} is not Ready" if waiting else ""

    wait_until(
        missing,
        doing=f"restarting DaemonSet {name} on {node}",
        timeout=action.timeout,
        progress=progress,
        stop=stop,
    )


def daemonset_uid(cluster: Cluster, action: RestartDaemonSetPod) -> str:
    """UID of the DaemonSet; a missing one is told with those that could be meant."""
    namespace, name = (quote(part, safe="") for part in (action.namespace, action.name))
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"
    try:
        found = cluster.api.get(path, f"read DaemonSet {action.namespace}/{action.name}")
    except RefusalError as error:
        if error.code == 404:
            error.hint = "kubectl get daemonsets --all-namespaces lists those there are"
        raise
    return str(found["metadata"]["uid"])


def owned(cluster: Cluster, node: str, uid: str) -> list[Pod]:
    """The pods on the node that a controller owns."""
    return [pod for pod in cluster.pods_on(node) if pod.owner_uid == uid]


def created_after(pod: Pod, moment: datetime) -> bool:
    """Whether the pod is younger than the moment; within the same second it counts as older."""
    try:
        created = datetime.fromisoformat(pod.state.created)
    except ValueError as error:
        raise ClusterError(
            f"{pod.state.full_name}: creation time {pod.state.created!r} cannot be read"
        ) from error
    return created > moment


def delete(cluster: Cluster, pod: Pod) -> None:
    """Delete exactly this pod; one that is gone or was replaced meanwhile is fine."""
    path = f"/api/v1/namespaces/{pod.state.namespace}/pods/{pod.state.name}"
    body = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": pod.state.uid},
    }
    try:
        cluster.api.request(
            "DELETE", path, f"delete pod {pod.state.full_name}", body=body, repeatable=True
        )
    except RefusalError as error:
        if error.code not in (404, 409):
            raise
