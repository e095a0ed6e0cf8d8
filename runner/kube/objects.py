"""Objects of any kind: what is live, what server-side apply would make of it, and making it so.

Sources: Kubernetes' "Server-Side Apply" and "API concepts" (dryRun=All, fieldValidation=Strict);
when a rollout is complete: kubectl's rollout_status.go.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runner.errors import ClusterError
from runner.kube.api import MERGE_PATCH, Json, RefusalError, UnservedError
from runner.kube.state import (
    ApplyObject,
    DeleteObject,
    ObjectQuery,
    ObjectState,
    RestartDaemonSet,
    WaitRollout,
)
from runner.kube.waiting import Progress, wait_until

if TYPE_CHECKING:
    from runner.kube.cluster import Cluster

APPLY = "application/apply-patch+yaml"
"""JSON is YAML: servers before 1.32 know no other name for it."""
RESTARTED_BY = "gpurun.dev/restarted-by"
"""Annotation of a pod template: the run that last had all its pods made anew."""
CONFLICTS = 8
"""How often a replacement is made anew because the object's status was written meanwhile."""
_SERVERS_OWN = frozenset(
    {"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}
)
_MEANT_WRONG = frozenset({400, 409, 422})
"""Refusals that asking again will not change: the manifest itself has to."""


def full_name(manifest: Json) -> str:
    """Kind, namespace and name, as messages name an object."""
    meta = manifest["metadata"]
    namespace = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{manifest['kind']} {namespace}{meta['name']}"


def look(cluster: Cluster, query: ObjectQuery) -> ObjectState:
    """The live object and, where the query wants it, the answer of a server-side dry run.

    Raises:
        ClusterError: unreachable, not allowed, or the cluster has no such kind.
    """
    if query.selector:
        return ObjectState({"items": _matching(cluster, query)})
    path, name = object_path(cluster, query.manifest), full_name(query.manifest)
    live = _live(cluster, path, name)
    if not query.dry_run:
        return ObjectState(live)
    try:
        return ObjectState(live, _write(cluster, path, query, live, dry_run=True))
    except RefusalError as error:
        namespace = query.manifest["metadata"].get("namespace")
        if error.code == 404 and namespace:  # not the object: apply creates that
            return ObjectState(live, refused=f"namespace {namespace} does not exist")
        if error.code not in _MEANT_WRONG:
            raise
        return ObjectState(live, refused=_refusal(error))


def _matching(cluster: Cluster, query: ObjectQuery) -> tuple[Json, ...]:
    """The live objects of a kind that have the labels asked for."""
    kind, meta = query.manifest["kind"], {**query.manifest["metadata"], "name": "any"}
    path = object_path(cluster, {**query.manifest, "metadata": meta}).rpartition("/")[0]
    return cluster.api.collection(path, f"list {kind} objects", labels=query.selector)


def _refusal(error: RefusalError) -> str:
    owners = [f"{message} ({reason})" for reason, message in error.causes]
    return error.said + (f": {'; '.join(owners)}" if error.code == 409 and owners else "")


def _live(cluster: Cluster, path: str, name: str) -> Json | None:
    try:
        return cluster.api.get(path, f"read {name}")
    except RefusalError as error:
        if error.code == 404:
            return None
        raise


def _write(
    cluster: Cluster, path: str, query: ObjectQuery, live: Json | None, dry_run: bool
) -> Json:
    if query.replace and live is not None:
        return _replace(cluster, path, query, live, dry_run)
    return _apply(cluster, path, query, dry_run)


def _replace(cluster: Cluster, path: str, query: ObjectQuery, live: Json, dry_run: bool) -> Json:
    """Put the manifest in the place of the live object, if that is still as it was read. Its
    controller writes the status all the time, which is no reason to give up."""
    name, seen = full_name(query.manifest), visible(live)
    for _ in range(CONFLICTS):
        version = {"resourceVersion": live["metadata"]["resourceVersion"]}
        body = {**query.manifest, "metadata": {**query.manifest["metadata"], **version}}
        try:
            return cluster.api.request(
                "PUT",
                path,
                f"{'try to replace' if dry_run else 'replace'} {name}",
                body=body,
                query={"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {}),
                repeatable=dry_run,
            )
        except RefusalError as error:
            now = _live(cluster, path, name) if error.code == 409 else None
            if now is None or visible(now) != seen:
                raise
            live = now
    raise ClusterError(f"{name} was changed by others {CONFLICTS} times in a row")


def _apply(cluster: Cluster, path: str, query: ObjectQuery, dry_run: bool) -> Json:
    parameters = {"fieldValidation": "Strict", "force": str(query.force).lower()}
    parameters["fieldManager"] = query.manager
    parameters |= {"dryRun": "All"} if dry_run else {}
    return cluster.api.request(
        "PATCH",
        path,
        f"{'try to apply' if dry_run else 'apply'} {full_name(query.manifest)}",
        body=query.manifest,
        content_type=APPLY,
        query=parameters,
        repeatable=True,
    )


def object_path(cluster: Cluster, manifest: Json) -> str:
    """The object's path, as the server's discovery tells it."""
    version, kind, meta = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    try:
        resources = cluster.api.get(root, f"discover {version}").get("resources") or []
    except UnservedError:
        resources = []
    except RefusalError as error:
        if error.code != 404:
            raise
        resources = []
    found = [r for r in resources if r["kind"] == kind and "/" not in r["name"]]
    if not found:
        raise ClusterError(
            f"the cluster has no kind {kind} in {version}",
            f"kubectl api-resources lists what there is; is its CustomResourceDefinition missing?"
            f" ({full_name(manifest)})",
        )
    namespace = meta.get("namespace", "")
    if bool(found[0].get("namespaced")) != bool(namespace):
        needs = "needs a" if found[0].get("namespaced") else "has no"
        raise ClusterError(f"{full_name(manifest)}: a {kind} {needs} metadata.namespace")
    place = f"namespaces/{quote(namespace, safe='')}/" if namespace else ""
    return f"{root}/{place}{found[0]['name']}/{quote(meta['name'], safe='')}"


def visible(item: Json | None) -> Mapping[str, Any] | None:
    """An object without what only the server writes: status, managedFields, versions."""
    if item is None:
        return None
    meta = {k: v for k, v in item["metadata"].items() if k not in _SERVERS_OWN}
    return {**{k: v for k, v in item.items() if k != "status"}, "metadata": meta}


def perform(
    cluster: Cluster,
    action: ApplyObject | DeleteObject | WaitRollout | RestartDaemonSet,
    run: str,
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Do what is asked of an object, and return when it is seen done. Raises ClusterError."""
    match action:
        case ApplyObject():
            apply_object(cluster, action, progress, stop)
        case DeleteObject():
            delete_object(cluster, action, progress, stop)
        case WaitRollout():
            wait_rollout(cluster, action, progress, stop)
        case RestartDaemonSet():
            restart_daemonset(cluster, action, run, progress, stop)


def apply_object(
    cluster: Cluster, action: ApplyObject, progress: Progress, stop: threading.Event
) -> None:
    """Apply the object, unless another host of the run has done it, and see it as wanted.

    Raises:
        ClusterError: refused, changed by others since it was planned, or not as wanted afterwards.
    """
    name = full_name(action.query.manifest)
    with cluster.writing_objects:
        before = look(cluster, action.query)
        if before.wanted:
            progress(f"{name} is as wanted already")
        else:
            _unchanged(name, before, action.seen)
            path = object_path(cluster, action.query.manifest)
            _write(cluster, path, action.query, before.live, False)
            after = look(cluster, action.query)
            if not after.wanted:
                raise ClusterError(
                    f"{name} was applied but is not as wanted: {after.refused or 'it differs'}",
                    "something else on the cluster changes it back",
                )
            progress(f"{name} applied")
    if action.rollout is not None:
        wait_rollout(cluster, action.rollout, progress, stop)


def _unchanged(name: str, state: ObjectState, seen: Json | None) -> None:
    if state.refused:
        raise ClusterError(f"{name}: {state.refused}")
    if visible(state.live) != seen:
        raise ClusterError(
            f"{name} is no longer as it was when this was planned; nothing was done to it",
            "run gpurun plan again to see what it is now",
        )


def delete_object(
    cluster: Cluster, action: DeleteObject, progress: Progress, stop: threading.Event
) -> None:
    """Delete exactly the object that was planned, with all it owns, and wait until it is gone."""
    manifest = action.query.manifest
    path, name = object_path(cluster, manifest), full_name(manifest)
    with cluster.writing_objects:
        live = _live(cluster, path, name)
        if live is None:
            progress(f"{name} is gone already")
            return
        _unchanged(name, ObjectState(live), action.seen)
        uid = live["metadata"]["uid"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            cluster.api.request("DELETE", path, f"delete {name}", body=body, repeatable=True)
        except RefusalError as error:
            if error.code != 404:
                raise

    def missing() -> str:
        item = _live(cluster, path, name)
        return "" if item is None or item["metadata"]["uid"] != uid else "still there"

    wait_until(
        missing,
        doing=f"deleting {name}",
        timeout=action.timeout,
        progress=progress,
        stop=stop,
    )


def restart_daemonset(
    cluster: Cluster,
    action: RestartDaemonSet,
    run: str,
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Let all pods of a DaemonSet be made anew by a mark in its template, once for a run."""
    meta = {"namespace": action.namespace, "name": action.name}
    manifest = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta}
    path, name = object_path(cluster, manifest), full_name(manifest)
    with cluster.writing_objects:
        live = cluster.api.get(path, f"read {name}")
        template = live["spec"]["template"].get("metadata") or {}
        if (template.get("annotations") or {}).get(RESTARTED_BY) == run:
            progress(f"{name} is being restarted by this run already")
        else:
            marks = {"metadata": {"annotations": {RESTARTED_BY: run}}}
            cluster.api.request(
                "PATCH",
                path,
                f"restart {name}",
                body={"spec": {"template": marks}},
                content_type=MERGE_PATCH,
                repeatable=True,
            )
            progress(f"{name} restarts on every node")
    wait_rollout(cluster, WaitRollout(manifest, action.timeout), progress, stop)


def wait_rollout(
    cluster: Cluster, action: WaitRollout, progress: Progress, stop: threading.Event
) -> None:
    """Wait until every pod of the object is of its present template and available; what is still
    missing is told whenever it changes."""
    path, name = object_path(cluster, action.manifest), full_name(action.manifest)

    def missing() -> str:
        item = _live(cluster, path, name)
        return "it is gone" if item is None else not_rolled_out(item)

    wait_until(
        missing,
        doing=f"waiting for the rollout of {name}",
        timeout=action.timeout,
        progress=progress,
        stop=stop,
        advice="kubectl describe its newest pods: why they do not become Ready stands there",
    )


def not_rolled_out(item: Json) -> str:
    """What a rollout still lacks; "" when it is complete.

    Raises:
        ClusterError: a Deployment's controller has given up (its progressDeadlineSeconds).
    """
    status, spec = item.get("status") or {}, item["spec"]
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return "its controller has not seen the change yet"
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return ""
    if item["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, ready = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    else:
        wanted = spec.get("replicas", 1)
        updated, ready = status.get("updatedReplicas", 0), _available(item["kind"], status)
    lacking = _deployment_lacks(status, updated, wanted) if item["kind"] == "Deployment" else ""
    if item["kind"] == "StatefulSet":
        wanted -= ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get(
            "partition", 0
        )
    if lacking or updated < wanted:
        return lacking or f"{updated} of {wanted} pods updated"
    return "" if ready >= wanted else f"{ready} of {wanted} updated pods available"


def _available(kind: str, status: Mapping[str, Any]) -> int:
    """A StatefulSet has no minimum of readiness unless it says one: ready is available."""
    name = "readyReplicas" if kind == "StatefulSet" else "availableReplicas"
    return int(status.get(name, 0))


def _deployment_lacks(status: Mapping[str, Any], updated: int, wanted: int) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("reason") == "ProgressDeadlineExceeded":
            raise ClusterError(
                f"the Deployment made no progress in time: {condition.get('message', '')}",
                "kubectl describe its newest pods: they do not become Ready",
            )
    if status.get("replicas", 0) > updated >= wanted:
        return f"{status['replicas'] - updated} old pods are still there"
    return ""
