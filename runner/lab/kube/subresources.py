"""What hangs below an object: its log, its scale, its binding to a node, its eviction."""

from __future__ import annotations

import json
from dataclasses import replace

from runner.lab.kube import failures
from runner.lab.kube.answers import Answer
from runner.lab.kube.bodies import read_as
from runner.lab.kube.deletion import DeleteOptions, evict
from runner.lab.kube.kinds import Json
from runner.lab.kube.patches import PATCHES
from runner.lab.kube.programs import LOG
from runner.lab.kube.requests import Request, Target
from runner.lab.kube.schema import Struct
from runner.lab.kube.selectors import selector_text
from runner.lab.kube.store import Store

_SCALE = Struct("autoscaling_v1", "Scale")
_EVICTION = Struct("policy_v1", "Eviction")
_BINDING = Struct("core_v1", "Binding")


def read_log(pod: Json, request: Request) -> Answer:
    """What the pod's container has printed; the lab's kubelet keeps it beside the pod."""
    status, name = pod["status"], pod["metadata"]["name"]
    container = pod["spec"]["containers"][0]["name"]
    states = status.get("containerStatuses") or [{"state": {"waiting": {}}}]
    waiting = states[0]["state"].get("waiting")
    if waiting is not None:
        reason = waiting.get("reason", "ContainerCreating")
        raise failures.bad_request(
            f'container "{container}" in pod "{name}" is waiting to start: {reason}'
        )
    text = (pod["metadata"].get("annotations") or {}).get(LOG, "")
    limit = int(request.query.get("limitBytes") or len(text.encode()))
    lines = text.encode()[:limit].decode(errors="ignore").splitlines(keepends=True)
    tail = request.query.get("tailLines")
    return Answer(200, "".join(lines[-int(tail) :] if tail else lines))


def evict_pod(store: Store, where: Target, request: Request, pod: Json) -> Answer:
    """Answer the creation of an Eviction."""
    body = read_as(request, _EVICTION)
    if (body.get("metadata") or {}).get("name", where.name) != where.name:
        raise failures.bad_request("name in URL does not match name in Eviction object")
    options = DeleteOptions.of(body.get("deleteOptions") or {}, request.query)
    return Answer(201, evict(store, pod, options))


def bind(store: Store, where: Target, request: Request, pod: Json) -> Answer:
    """Answer the creation of a Binding: the scheduler's word on which node a pod runs."""
    body = read_as(request, _BINDING)
    if "nodeName" in pod["spec"]:
        raise failures.stale(where.kind, where.name)
    store.put(where.kind, {**pod, "spec": {**pod["spec"], "nodeName": body["target"]["name"]}})
    return Answer(201, failures.success(code=201))


def scale_of(item: Json) -> Json:
    """The Scale of a workload."""
    metadata = item["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = item["status"].get("replicas", 0)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept},
        "spec": {"replicas": item["spec"]["replicas"]},
        "status": {"replicas": replicas, "selector": selector_text(item["spec"]["selector"])},
    }


def rescaled(request: Request, where: Target, item: Json) -> Json:
    """The workload with the replicas that an update or a patch of its Scale asks for.

    Raises:
        ApiFailure: 422 for less than none, and whatever is wrong with the Scale itself.
    """
    if request.method == "PATCH":
        changed = PATCHES[request.content_type](scale_of(item), request.parsed()[0])
        content = json.dumps(changed).encode()
        request = replace(request, content=content, content_type="application/json")
    scale = read_as(request, _SCALE)
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        why = "must be greater than or equal to 0"
        cause = failures.invalid_value("spec.replicas", str(replicas), why)
        raise failures.invalid_scale(where.name, cause)
    metadata = {**item["metadata"]}
    if version := (scale.get("metadata") or {}).get("resourceVersion"):
        metadata["resourceVersion"] = version
    return {**item, "metadata": metadata, "spec": {**item["spec"], "replicas": replicas}}
