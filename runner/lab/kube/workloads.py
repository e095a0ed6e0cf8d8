"""The workload controllers: Deployments, StatefulSets, DaemonSets, Jobs … keep their pods."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence

from runner.lab.kube import clock
from runner.lab.kube.budgets import is_ready, refresh
from runner.lab.kube.defaults import completed
from runner.lab.kube.deletion import DeleteOptions, delete, is_finished
from runner.lab.kube.kinds import KIND, Json, Kind
from runner.lab.kube.scheduling import DAEMON_TOLERATIONS, selects, tolerates
from runner.lab.kube.selectors import object_selector
from runner.lab.kube.store import Store

_POD, _REPLICA_SET, _NODE = KIND["Pod"], KIND["ReplicaSet"], KIND["Node"]
_HASH = "pod-template-hash"
_REVISION = "controller-revision-hash"
_POD_NAME = "statefulset.kubernetes.io/pod-name"


def reconcile(store: Store) -> None:
    """One pass of all workload controllers, the garbage collector and the budgets."""
    with store.lock:
        _collect_garbage(store)
        _end_namespaces(store)
        for deployment in store.list(KIND["Deployment"]):
            _deployment(store, deployment)
        for replica_set in store.list(_REPLICA_SET):
            _adopt(store, replica_set)
        pods = _by_owner(store)
        for replica_set in store.list(_REPLICA_SET):
            _replica_set(store, replica_set, pods.get(replica_set["metadata"]["uid"], ()))
        for stateful_set in store.list(KIND["StatefulSet"]):
            _stateful_set(store, stateful_set, pods.get(stateful_set["metadata"]["uid"], ()))
        for daemon_set in store.list(KIND["DaemonSet"]):
            _daemon_set(store, daemon_set, pods.get(daemon_set["metadata"]["uid"], ()))
        for job in store.list(KIND["Job"]):
            _job(store, job, pods.get(job["metadata"]["uid"], ()))
        for budget in store.list(KIND["PodDisruptionBudget"]):
            refresh(store, budget)


def _by_owner(store: Store) -> Mapping[str, Sequence[Json]]:
    pods: dict[str, list[Json]] = {}
    for pod in store.list(_POD):
        for owner in pod["metadata"].get("ownerReferences", ()):
            pods.setdefault(owner["uid"], []).append(pod)
    return pods


def _adopt(store: Store, replica_set: Json) -> None:
    """Pods that it selects and nobody controls become its own."""
    matches = object_selector(replica_set["spec"]["selector"])
    owner = _owner(_REPLICA_SET, replica_set)
    for pod in store.list(_POD, replica_set["metadata"]["namespace"]):
        metadata = pod["metadata"]
        owners = metadata.get("ownerReferences", [])
        controlled = any(entry.get("controller") for entry in owners)
        if not controlled and not _terminating(pod) and matches(metadata.get("labels") or {}):
            store.put(_POD, {**pod, "metadata": {**metadata, "ownerReferences": [*owners, owner]}})


def _collect_garbage(store: Store) -> None:
    """Delete what belongs to an owner that is gone."""
    alive = {item["metadata"]["uid"] for kind in KIND.values() for item in store.list(kind)}
    for kind in (_POD, _REPLICA_SET):
        for item in store.list(kind):
            owners = item["metadata"].get("ownerReferences", ())
            orphaned = owners and not any(owner["uid"] in alive for owner in owners)
            if orphaned and not _terminating(item):
                delete(store, kind, item, DeleteOptions())


def _end_namespaces(store: Store) -> None:
    """Empty terminating namespaces, then remove them."""
    for namespace in store.list(KIND["Namespace"]):
        if not _terminating(namespace):
            continue
        name, left = namespace["metadata"]["name"], 0
        for kind in (kind for kind in KIND.values() if kind.namespaced):
            for item in store.list(kind, name):
                if not _terminating(item):
                    delete(store, kind, item, DeleteOptions())
            left += len(store.list(kind, name))
        if not left:
            store.remove(KIND["Namespace"], namespace)


def _terminating(item: Json) -> bool:
    return "deletionTimestamp" in item["metadata"]


def _active(pods: Sequence[Json]) -> list[Json]:
    return [pod for pod in pods if not _terminating(pod) and not is_finished(pod)]


def _template_hash(template: Json) -> str:
    text = json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _owner(kind: Kind, item: Json) -> Json:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": item["metadata"]["name"],
        "uid": item["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _metadata(kind: Kind, owner: Json, name: str, labels: Mapping[str, str]) -> Json:
    return {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "uid": str(uuid.uuid4()),
        "creationTimestamp": clock.now(),
        "generation": 1,
        "labels": dict(labels),
        "ownerReferences": [_owner(kind, owner)],
    }


def _make_pod(
    store: Store,
    kind: Kind,
    owner: Json,
    labels: Mapping[str, str],
    spec: Json | None = None,
    name: str = "",
) -> None:
    template = owner["spec"]["template"]
    described = template.get("metadata") or {}
    prefix = f"{owner['metadata']['name']}-"
    metadata = _metadata(
        kind,
        owner,
        name or prefix + uuid.uuid4().hex[:5],
        {**(described.get("labels") or {}), **labels},
    )
    metadata["generateName"] = prefix
    if described.get("annotations"):
        metadata["annotations"] = described["annotations"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**template["spec"], **(spec or {})},
    }
    store.put(_POD, completed(_POD, pod))


def _set_status(store: Store, kind: Kind, item: Json, status: Json) -> None:
    status = {**item["status"], **status}
    if status != item["status"]:
        store.put(kind, {**item, "status": status})


def _deployment(store: Store, item: Json) -> None:
    """One ReplicaSet per template; the present one gets all replicas at once."""
    metadata, spec = item["metadata"], item["spec"]
    revision = _template_hash(spec["template"])
    owned = [
        entry
        for entry in store.list(_REPLICA_SET, metadata["namespace"])
        if any(o["uid"] == metadata["uid"] for o in entry["metadata"].get("ownerReferences", ()))
    ]
    if revision not in {entry["metadata"]["labels"].get(_HASH) for entry in owned}:
        owned.append(_make_replica_set(store, item, revision))
    ready = updated = total = 0
    for entry in owned:
        current = entry["metadata"]["labels"].get(_HASH) == revision
        wanted = spec["replicas"] if current else 0
        ready += entry["status"].get("readyReplicas", 0)
        total += entry["status"].get("replicas", 0)
        updated += entry["status"].get("replicas", 0) if current else 0
        if entry["spec"]["replicas"] != wanted:
            store.put(_REPLICA_SET, {**entry, "spec": {**entry["spec"], "replicas": wanted}})
    status = {**_replica_status(item, total, ready), "updatedReplicas": updated}
    _set_status(store, KIND["Deployment"], item, status)


def _make_replica_set(store: Store, deployment: Json, revision: str) -> Json:
    spec = deployment["spec"]
    described = spec["template"].get("metadata") or {}
    labels = {**(described.get("labels") or {}), _HASH: revision}
    name = f"{deployment['metadata']['name']}-{revision}"
    template = {**spec["template"], "metadata": {**described, "labels": labels}}
    selector = {"matchLabels": {**spec["selector"].get("matchLabels", {}), _HASH: revision}}
    item = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": _metadata(KIND["Deployment"], deployment, name, labels),
        "spec": {"replicas": spec["replicas"], "selector": selector, "template": template},
    }
    return store.put(_REPLICA_SET, completed(_REPLICA_SET, item))


def _replica_status(item: Json, replicas: int, ready: int) -> Json:
    return {
        "observedGeneration": item["metadata"].get("generation", 1),
        "replicas": replicas,
        "readyReplicas": ready,
        "availableReplicas": ready,
    }


def _replica_set(store: Store, item: Json, pods: Sequence[Json]) -> None:
    active, wanted = _active(pods), item["spec"]["replicas"]
    for _ in range(wanted - len(active)):
        _make_pod(store, _REPLICA_SET, item, {})
    surplus = sorted(active, key=is_ready)[: max(0, len(active) - wanted)]
    for pod in surplus:
        delete(store, _POD, pod, DeleteOptions())
    status = _replica_status(item, len(active), sum(map(is_ready, active)))
    _set_status(store, _REPLICA_SET, item, status)


def _stateful_set(store: Store, item: Json, pods: Sequence[Json]) -> None:
    """Pods name-0, name-1, … one after the other; each comes back under its own name. A rolling
    update replaces one outdated pod while all others are ready, from the last to the first."""
    kind, metadata, spec = KIND["StatefulSet"], item["metadata"], item["spec"]
    revision = f"{metadata['name']}-{_template_hash(spec['template'])}"
    wanted = [f"{metadata['name']}-{number}" for number in range(spec["replicas"])]
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    for name in wanted:
        pod = by_name.get(name)
        if pod is None:
            _make_pod(store, kind, item, {_REVISION: revision, _POD_NAME: name}, name=name)
            break
        if is_finished(pod) and not _terminating(pod):
            delete(store, _POD, pod, DeleteOptions())
        if not is_ready(pod):
            break
    for name in set(by_name) - set(wanted):
        if not _terminating(by_name[name]):
            delete(store, _POD, by_name[name], DeleteOptions())
    active = _active(pods)
    ready = [pod for pod in active if is_ready(pod)]
    updated = [pod for pod in active if pod["metadata"]["labels"].get(_REVISION) == revision]
    if spec["updateStrategy"].get("type") == "RollingUpdate" and len(ready) >= len(wanted):
        outdated = [pod for pod in active if pod not in updated]
        for pod in sorted(outdated, key=lambda pod: str(pod["metadata"]["name"]))[-1:]:
            delete(store, _POD, pod, DeleteOptions())
    done = len(updated) >= len(wanted)
    before = item["status"].get("currentRevision", revision)
    status = {
        **_replica_status(item, len(active), len(ready)),
        "updatedReplicas": len(updated),
        "currentReplicas": len(updated) if done else len(active) - len(updated),
        "updateRevision": revision,
        "currentRevision": revision if done else before,
    }
    _set_status(store, kind, item, status)


def _daemon_set(store: Store, item: Json, pods: Sequence[Json]) -> None:
    """One pod on every node that is selected; a new one only once the old one is gone."""
    kind, template = KIND["DaemonSet"], item["spec"]["template"]
    revision = _template_hash(template)
    tolerations = [*template["spec"].get("tolerations", ()), *DAEMON_TOLERATIONS]
    selected = [node for node in store.list(_NODE) if selects(template["spec"], node)]
    eligible = _names(node for node in selected if tolerates(tolerations, node))
    staying = _names(node for node in selected if tolerates(tolerations, node, ("NoExecute",)))
    placed = {pod["spec"].get("nodeName") for pod in pods}
    for pod in pods:
        unwanted = pod["spec"].get("nodeName") not in staying or is_finished(pod)
        if unwanted and not _terminating(pod):
            delete(store, _POD, pod, DeleteOptions())
    for name in sorted(eligible - placed):
        spec = {"nodeName": name, "tolerations": tolerations}
        _make_pod(store, kind, item, {_REVISION: revision}, spec)
    _roll(store, item, pods, len(eligible), revision)
    ready = [pod for pod in pods if is_ready(pod) and not _terminating(pod)]
    updated = [pod for pod in ready if pod["metadata"]["labels"].get(_REVISION) == revision]
    status = {
        "currentNumberScheduled": len(eligible & placed),
        "numberMisscheduled": 0,
        "desiredNumberScheduled": len(eligible),
        "numberReady": len(ready),
        "observedGeneration": item["metadata"].get("generation", 1),
        "updatedNumberScheduled": len(updated),
        "numberAvailable": len(ready),
        "numberUnavailable": len(eligible) - len(ready),
    }
    _set_status(store, kind, item, status)


def _names(nodes: Iterable[Json]) -> set[str]:
    return {node["metadata"]["name"] for node in nodes}


def _roll(store: Store, item: Json, pods: Sequence[Json], wanted: int, revision: str) -> None:
    """A rolling update: delete one outdated pod while all others are available."""
    if item["spec"]["updateStrategy"].get("type") != "RollingUpdate":
        return
    current = _active(pods)
    outdated = [pod for pod in current if pod["metadata"]["labels"].get(_REVISION) != revision]
    unready = [pod for pod in outdated if not is_ready(pod)]
    available = sum(map(is_ready, current))
    if unready or (outdated and available >= wanted):
        delete(store, _POD, (unready or outdated)[0], DeleteOptions())


def _job(store: Store, item: Json, pods: Sequence[Json]) -> None:
    spec, status = item["spec"], item["status"]
    succeeded = sum(pod["status"]["phase"] == "Succeeded" for pod in pods)
    failed = sum(pod["status"]["phase"] == "Failed" for pod in pods)
    active = _active(pods)
    wanted = max(0, min(spec["parallelism"], spec["completions"] - succeeded))
    for _ in range(wanted - len(active)):
        labels = {"batch.kubernetes.io/job-name": item["metadata"]["name"]}
        _make_pod(store, KIND["Job"], item, labels, {"restartPolicy": "Never"})
    changed = {"active": len(active), "succeeded": succeeded, "failed": failed}
    if succeeded >= spec["completions"] and "completionTime" not in status:
        moment = clock.now()
        done = {"type": "Complete", "status": "True", "lastTransitionTime": moment}
        changed |= {"completionTime": moment, "conditions": [done]}
    _set_status(store, KIND["Job"], item, changed)
