"""A pod that runs one command on a node, is waited for, and is always removed.

The pod has no owner and is placed by `spec.nodeName`, past the scheduler: it also starts on a
cordoned node. Its labels tell it from all others, so that one left by a killed run is removed by
the next check on that node (which holds the node's lock); `activeDeadlineSeconds` ends it anyway.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runner.errors import ClusterError
from runner.kube.actions import delete
from runner.kube.api import Json, RefusalError
from runner.kube.kubeconfig import printable
from runner.kube.parse import FINISHED
from runner.kube.state import CheckPod
from runner.kube.waiting import Progress, wait_until

if TYPE_CHECKING:
    from runner.kube.cluster import Cluster

MANAGED_BY, NAME, RUN = "app.kubernetes.io/managed-by", "app.kubernetes.io/name", "gpurun.dev/run"
LABELS = {MANAGED_BY: "gpurun", NAME: "gpurun-pod-check"}
LOG_BYTES = 65_536
"""How much of the pod's output is kept: its beginning."""
REMOVED_WITHIN = 60.0
"""Seconds a finished or deleted pod may take to be gone."""
STUCK = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons of a waiting container that more waiting does not change."""


def check_pod(
    cluster: Cluster,
    node: str,
    action: CheckPod,
    run: str,
    progress: Progress,
    stop: threading.Event,
) -> Mapping[str, Any]:
    """Run the pod on the node and remove it.

    Returns:
        `stdout` and `stdout_lines` (data, never evaluated), `rc`, and the `pod`'s name.

    Raises:
        ClusterError: it could not start, did not end in time, or its command failed.
    """
    remove_leftovers(cluster, node, progress, stop)
    pod = manifest(node, action, run)
    name = f"{action.namespace}/{pod['metadata']['name']}"
    pods = f"/api/v1/namespaces/{quote(action.namespace, safe='')}/pods"
    path = f"{pods}/{pod['metadata']['name']}"
    try:
        progress(f"starting pod {name} on {node}")
        _create(cluster, pods, pod, name)
        ended = _ended(cluster, path, name, action, progress, stop)
        log = _log(cluster, path, name, ended)
    finally:
        # Whatever happened, and also when the run is being stopped: within its own time.
        remove_leftovers(cluster, node, progress, threading.Event())
    return judged(name, node, ended, log)


def manifest(node: str, action: CheckPod, run: str) -> Json:
    """The pod: one per node and specification, so that a repeated request makes no second one."""
    asked = json.dumps([node, action.spec, run], sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()[:10]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"gpurun-check-{digest}",
            "namespace": action.namespace,
            "labels": {**LABELS, **({RUN: run} if run else {})},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": max(1, round(action.timeout)),
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            **action.spec,
            "nodeName": node,
        },
    }


def _create(cluster: Cluster, pods: str, pod: Json, name: str) -> None:
    try:
        cluster.api.request("POST", pods, f"create pod {name}", body=pod)
    except RefusalError as error:
        if error.code == 403 and "PodSecurity" in error.said:
            error.hint = "the namespace's Pod Security level forbids it: choose another namespace"
        raise


def _ended(
    cluster: Cluster,
    path: str,
    name: str,
    action: CheckPod,
    progress: Progress,
    stop: threading.Event,
) -> Json:
    seen: Json = {}

    def missing() -> str:
        nonlocal seen
        seen = _read(cluster, path, name)
        status = seen.get("status") or {}
        if status.get("phase") in FINISHED:
            return ""
        reason, message = waiting_reason(status)
        if reason in STUCK:
            raise ClusterError(f"pod {name} cannot start: {reason}: {printable(message)}")
        return f"{status.get('phase') or 'Pending'}{': ' + reason if reason else ''}"

    wait_until(
        missing,
        doing=f"waiting for pod {name}",
        timeout=action.timeout,
        progress=progress,
        stop=stop,
    )
    return seen


def _read(cluster: Cluster, path: str, name: str) -> Json:
    try:
        return cluster.api.get(path, f"read pod {name}")
    except RefusalError as error:
        if error.code != 404:
            raise
        raise ClusterError(f"pod {name} was deleted by somebody else before it ended") from error


def waiting_reason(status: Mapping[str, Any]) -> tuple[str, str]:
    """Why the pod's containers have not started; ("", "") where nothing is said."""
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"]), str(waiting.get("message") or "")
    return "", ""


def _log(cluster: Cluster, path: str, name: str, ended: Json) -> str:
    """What it printed; a pod that the kubelet did not admit has no log.

    The API server asks the node for it. Where it gets no answer, what became of the pod is known
    all the same, and told.

    Raises:
        ClusterError: it succeeded, but what it printed is not known.
    """
    query = {"limitBytes": str(LOG_BYTES)}
    try:
        return cluster.api.text(f"{path}/log", f"read the log of pod {name}", query)
    except RefusalError as error:
        if error.code in (400, 404):
            return ""
        if ended["status"]["phase"] == "Failed":
            return f"(its log cannot be read: {error.said})"
        raise ClusterError(
            f"pod {name} succeeded, but what it printed cannot be read: {error.said}",
            error.hint or "the API server asks the node's kubelet for it: see that it gets there",
        ) from error


def judged(name: str, node: str, pod: Json, log: str) -> Mapping[str, Any]:
    """What a pod that has ended tells. Raises ClusterError where it did not succeed."""
    status = pod["status"]
    rc = _exit_code(status)
    if status["phase"] == "Succeeded":
        return {"rc": 0, "stdout": log.rstrip("\n"), "stdout_lines": log.splitlines(), "pod": name}
    said = printable(log[-1000:])
    why = printable(": ".join(filter(None, (status.get("reason"), status.get("message")))))
    why = why or (f"exit code {rc}" if rc is not None else "its containers did not start")
    raise ClusterError(f"pod {name} failed on {node}: {why}" + (f": {said}" if said else ""))


def _exit_code(status: Mapping[str, Any]) -> int | None:
    for container in status.get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated")
        if ended is not None:
            return int(ended.get("exitCode", -1))
    return None


def remove_leftovers(
    cluster: Cluster, node: str, progress: Progress, stop: threading.Event
) -> None:
    """Remove every check pod of the node and see it gone: its GPU is free only then."""
    labels = ",".join(f"{key}={value}" for key, value in LABELS.items())
    pods = cluster.pods_on(node, labels)
    if not pods:
        return
    for pod in pods:
        progress(f"removing pod {pod.state.full_name} from {node}")
        delete(cluster, pod)

    def missing() -> str:
        left = [pod.state.full_name for pod in cluster.pods_on(node, labels)]
        return f"{', '.join(left)} is still there" if left else ""

    wait_until(
        missing,
        doing=f"removing check pods of {node}",
        timeout=REMOVED_WITHIN,
        progress=progress,
        stop=stop,
    )
