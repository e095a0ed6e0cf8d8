"""The API server itself: a request in, an answer out, as Kubernetes 1.36 would give it."""

from __future__ import annotations

import secrets
import string
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.lab.kube import clock, failures, kinds, ownership, tables
from runner.lab.kube.authorization import Access, allowed
from runner.lab.kube.defaults import completed
from runner.lab.kube.deletion import DeleteOptions, delete, evict
from runner.lab.kube.kinds import KIND, Json, Kind
from runner.lab.kube.lists import Watch, list_objects
from runner.lab.kube.patches import json_patch, merge, strategic
from runner.lab.kube.programs import LOG
from runner.lab.kube.requests import Request, Target, target
from runner.lab.kube.store import Store
from runner.lab.kube.validation import validate

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OPENAPI = "\n\x032.0\x12\t\n\x03lab\x12\x02v1"
"""An OpenAPI document that describes no kind, as protobuf: kubectl asks for one before it applies,
and does not check kinds of which it finds nothing. Fields 1 (swagger), 2 (info: title, version)."""
_APPLY = ("application/apply-patch+yaml", "application/apply-patch+json")
_PATCHES = {
    "application/json-patch+json": json_patch,
    "application/merge-patch+json": merge,
    "application/strategic-merge-patch+json": strategic,
}
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_KEPT = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""Metadata no client can change."""
_RESET = (
    *("Pod", "PodDisruptionBudget", "Namespace"),
    *("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet", "Job"),
)
"""Kinds whose status a client cannot set while creating."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back: JSON, or plain text for the health checks."""

    code: int
    body: Json | str
    headers: Mapping[str, str] = field(default_factory=dict)


def public(path: str) -> Answer | None:
    """What anyone may read without a token."""
    if path in ("/readyz", "/livez", "/healthz"):
        return Answer(200, "ok")
    return Answer(200, kinds.VERSION) if path == "/version" else None


def answer(store: Store, request: Request) -> Answer | Watch:
    """Answer a request of a known user; a watch is returned for the connection to follow."""
    try:
        return _discovery(request.path) or _review(store, request) or _resource(store, request)
    except failures.ApiFailure as failure:
        return Answer(failure.code, failure.body(), failure.headers)


def _discovery(path: str) -> Answer | None:
    path = path.rstrip("/")
    if path == "/openapi/v2":
        return Answer(200, OPENAPI, {"Content-Type": PROTOBUF})
    if path == "/api":
        return Answer(200, {"kind": "APIVersions", "versions": ["v1"]})
    if path == "/api/v1":
        return Answer(200, kinds.resource_list(""))
    groups = kinds.groups()
    if path == "/apis":
        listed = [kinds.api_group(group) for group in groups]
        return Answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
    for group in groups:
        if path == f"/apis/{group}":
            head = {"kind": "APIGroup", "apiVersion": "v1"}
            return Answer(200, {**head, **kinds.api_group(group)})
        if path == f"/apis/{group}/v1":
            return Answer(200, kinds.resource_list(group))
    if path.startswith("/apis/") and path.split("/")[2] not in groups:
        return Answer(404, "404 page not found\n")
    return None


def _review(store: Store, request: Request) -> Answer | None:
    """SelfSubjectAccessReview: may the asking user do this?"""
    if request.path != _REVIEW or request.method != "POST":
        return None
    spec = request.object().get("spec") or {}
    asked = spec.get("resourceAttributes") or {}
    resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
    access = Access(
        str(asked.get("verb", "")),
        str(asked.get("group", "")),
        resource,
        str(asked.get("namespace", "")),
        str(asked.get("name", "")),
    )
    status = {"allowed": allowed(store, request.user, access)}
    head = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
    return Answer(201, {**head, "metadata": {}, "spec": spec, "status": status})


def _resource(store: Store, request: Request) -> Answer | Watch:
    if not request.path.startswith(("/api/", "/apis/")):
        raise failures.unknown_path()
    where = target(request.path)
    verb = where.verb(request)
    authorize(store, where, request, verb)
    if verb == "watch":
        return Watch.of(where.kind, where.namespace, request.query, request.wants_table)
    action = _ACTIONS.get(verb)
    if action is None:
        raise failures.method_not_allowed()
    with store.lock:
        return action(store, where, request)


def authorize(store: Store, where: Target, request: Request, verb: str) -> None:
    """Raise 403 unless the asking user may do this."""
    kind = where.kind
    resource = "/".join(filter(None, (kind.plural, where.subresource)))
    if allowed(
        store, request.user, Access(verb, kind.group, resource, where.namespace, where.name)
    ):
        return
    raise failures.forbidden_user(
        kind, where.name, request.user.name, verb, where.subresource, where.namespace
    )


def _existing(store: Store, where: Target) -> Json:
    item = store.get(where.kind, where.namespace, where.name)
    if item is None:
        raise failures.not_found(where.kind, where.name)
    return item


def _get(store: Store, where: Target, request: Request) -> Answer:
    item = _existing(store, where)
    if where.subresource == "log":
        return _log(item, request)
    if request.wants_table:
        return Answer(200, tables.table(where.kind, [item], {}))
    return Answer(200, item)


def _log(pod: Json, request: Request) -> Answer:
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


def _list(store: Store, where: Target, request: Request) -> Answer:
    found = list_objects(store, where.kind, where.namespace, request.query, request.wants_table)
    return Answer(200, found)


def _create(store: Store, where: Target, request: Request) -> Answer:
    body = request.object()
    if where.subresource == "eviction":
        return _evict(store, where, body, request)
    if where.subresource == "binding":
        return _bind(store, where, body)
    if where.name:
        raise failures.method_not_allowed()
    return _add(store, where, body, request, "Update")


def _evict(store: Store, where: Target, body: Json, request: Request) -> Answer:
    if (body.get("metadata") or {}).get("name", where.name) != where.name:
        raise failures.bad_request("name in URL does not match name in Eviction object")
    _check_namespace(store, where, where.name)
    options = DeleteOptions.of(body.get("deleteOptions") or {}, request.query)
    return Answer(201, evict(store, _existing(store, where), options))


def _bind(store: Store, where: Target, body: Json) -> Answer:
    pod = _existing(store, where)
    if "nodeName" in pod["spec"]:
        raise failures.stale(where.kind, where.name)
    store.put(where.kind, {**pod, "spec": {**pod["spec"], "nodeName": body["target"]["name"]}})
    return Answer(201, failures.success(code=201))


def _check_namespace(store: Store, where: Target, name: str) -> None:
    """Nothing is created in a namespace that is missing or terminating."""
    if not where.kind.namespaced:
        return
    namespace = store.get(KIND["Namespace"], "", where.namespace)
    if namespace is None:
        raise failures.not_found(KIND["Namespace"], where.namespace)
    if "deletionTimestamp" in namespace["metadata"]:
        raise failures.terminating_namespace(where.kind, name, where.namespace)


def _check_head(where: Target, body: Json) -> None:
    """The body has to be of the kind and in the namespace that the path names."""
    kind = where.kind
    if (body.get("kind") or kind.name) != kind.name or (
        body.get("apiVersion") or kind.api_version
    ) != kind.api_version:
        given = f"{body.get('apiVersion')}, Kind={body.get('kind')}"
        raise failures.bad_request(f"the object provided is {given}, not {kind.qualified}")
    namespace = (body.get("metadata") or {}).get("namespace") or where.namespace
    if kind.namespaced and namespace != where.namespace:
        raise failures.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _add(store: Store, where: Target, body: Json, request: Request, operation: str) -> Answer:
    """Create an object: by POST, by server-side apply, or by PUT of a Lease."""
    _check_head(where, body)
    kind = where.kind
    metadata = dict(body.get("metadata") or {})
    if "generateName" in metadata and not metadata.get("name"):
        metadata["name"] = metadata["generateName"] + _suffix()
    if not metadata.get("name"):
        reason = "name or generateName is required"
        raise failures.invalid(
            kind,
            "",
            [failures.cause("FieldValueRequired", f"Required value: {reason}", "metadata.name")],
        )
    if metadata.get("resourceVersion"):
        raise failures.bad_request("resourceVersion should not be set on objects to be created")
    _check_namespace(store, where, metadata["name"])
    if store.get(kind, where.namespace, metadata["name"]) is not None:
        raise failures.already_exists(kind, metadata["name"])
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": clock.now()}
    metadata |= {"namespace": where.namespace} if kind.namespaced else {}
    metadata |= {"generation": 1} if kind.generation else {}
    new = {**body, "kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
    if kind.name in _RESET:
        new.pop("status", None)
    owner = _owner(kind, request, operation, "")
    new = ownership.record(None, _without_managers(new), owner)
    new = completed(kind, new)
    validate(kind, None, new)
    if kind.name == "Pod":
        _check_runtime_class(store, new)
    return Answer(201, new if request.dry_run else store.put(kind, new))


def _check_runtime_class(store: Store, pod: Json) -> None:
    """The admission of RuntimeClasses: a pod names one that is there."""
    name = pod["spec"].get("runtimeClassName")
    if name and store.get(KIND["RuntimeClass"], "", name) is None:
        raise failures.no_runtime_class(pod["metadata"]["name"], name)


def _suffix() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))


def _owner(kind: Kind, request: Request, operation: str, subresource: str) -> ownership.Owner:
    return ownership.Owner(
        request.manager, operation, kind.api_version, clock.now(), subresource, frozenset()
    )


def _without_managers(item: Json) -> Json:
    metadata = {k: v for k, v in item["metadata"].items() if k != "managedFields"}
    return {**item, "metadata": metadata}


def _update(store: Store, where: Target, request: Request) -> Answer:
    body = request.object()
    _check_head(where, body)
    metadata = body.get("metadata") or {}
    if metadata.get("name", where.name) != where.name:
        raise failures.bad_request("the name of the object does not match the name on the URL")
    if where.kind.name == "Lease" and store.get(where.kind, where.namespace, where.name) is None:
        return _add(store, where, body, request, "Update")
    old = _existing(store, where)
    if not metadata.get("resourceVersion") and not where.kind.unconditional_update:
        why = failures.invalid_value(
            "metadata.resourceVersion", "0", "must be specified for an update"
        )
        raise failures.invalid(where.kind, where.name, [why])
    return _replace(store, where, request, old, body)


def _patch(store: Store, where: Target, request: Request) -> Answer:
    if request.content_type in _APPLY:
        return _server_side_apply(store, where, request)
    patch = _PATCHES.get(request.content_type)
    if patch is None:
        raise failures.unsupported_media_type()
    old = _existing(store, where)
    return _replace(store, where, request, old, patch(old, request.body()))


def _server_side_apply(store: Store, where: Target, request: Request) -> Answer:
    if "fieldManager" not in request.query:
        raise failures.manager_required()
    body = request.object()
    _check_head(where, body)
    owner = _owner(where.kind, request, "Apply", where.subresource)
    old = store.get(where.kind, where.namespace, where.name)
    if old is None:
        authorize(store, where, request, "create")
        body = {**body, "metadata": {**(body.get("metadata") or {}), "name": where.name}}
        return _add(store, where, body, request, "Apply")
    new = ownership.apply(old, body, owner, request.query.get("force") == "true")
    return _store(store, where, request, old, _settled(where, old, new))


def _replace(store: Store, where: Target, request: Request, old: Json, new: Json) -> Answer:
    """Put `new` in the place of `old`, as far as this request may change it."""
    settled = _settled(where, old, new)
    owner = _owner(where.kind, request, "Update", where.subresource)
    kept = {**settled["metadata"], "managedFields": old["metadata"].get("managedFields", [])}
    recorded = ownership.record(old, {**settled, "metadata": kept}, owner)
    return _store(store, where, request, old, recorded)


def _settled(where: Target, old: Json, new: Json) -> Json:
    """The new object with everything the server itself decides.

    Raises:
        ApiFailure: 409 for an outdated resourceVersion or another UID, 422 when it is invalid.
    """
    kind, metadata = where.kind, dict(new.get("metadata") or {})
    before = old["metadata"]
    if metadata.get("resourceVersion", before["resourceVersion"]) != before["resourceVersion"]:
        raise failures.stale(kind, where.name)
    if metadata.get("uid", before["uid"]) != before["uid"]:
        raise failures.precondition(kind, where.name, "UID", metadata["uid"], before["uid"])
    metadata = {key: value for key, value in metadata.items() if key not in _KEPT and value}
    metadata |= {key: before[key] for key in _KEPT if key in before}
    metadata |= {"name": where.name, "resourceVersion": before["resourceVersion"]}
    metadata |= {"namespace": where.namespace} if kind.namespaced else {}
    if where.subresource == "status":
        settled = {**old, "metadata": metadata, "status": new.get("status") or {}}
    else:
        settled = {**new, "kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
        settled |= {"status": old["status"]} if "status" in old else {}
    settled = completed(kind, settled)
    if kind.generation and settled["spec"] != old["spec"]:
        generation = before.get("generation", 1) + 1
        settled["metadata"] = {**settled["metadata"], "generation": generation}
        settled = completed(kind, settled)
    validate(kind, old, settled)
    return settled


def _store(store: Store, where: Target, request: Request, old: Json, new: Json) -> Answer:
    """Store a change; one that changes nothing does not move the resourceVersion."""
    if _comparable(new) == _comparable(old):
        return Answer(200, old)
    if request.dry_run:
        return Answer(200, new)
    stored = store.put(where.kind, new)
    metadata = stored["metadata"]
    if metadata.get("deletionGracePeriodSeconds") == 0 and not metadata.get("finalizers"):
        store.remove(where.kind, stored)
    return Answer(200, stored)


def _comparable(item: Json) -> Json:
    owners = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in item["metadata"].get("managedFields", ())
    ]
    return {**item, "metadata": {**item["metadata"], "managedFields": owners}}


def _delete(store: Store, where: Target, request: Request) -> Answer:
    options = DeleteOptions.of(request.object(), request.query)
    return Answer(200, delete(store, where.kind, _existing(store, where), options))


def _delete_collection(store: Store, where: Target, request: Request) -> Answer:
    options = DeleteOptions.of(request.object(), request.query)
    found = list_objects(store, where.kind, where.namespace, request.query, table=False)
    for entry in found["items"]:
        metadata = entry["metadata"]
        item = store.get(where.kind, metadata.get("namespace", ""), metadata["name"])
        if item is not None:
            delete(store, where.kind, item, options)
    return Answer(200, found)


_ACTIONS = {
    "get": _get,
    "list": _list,
    "create": _create,
    "update": _update,
    "patch": _patch,
    "delete": _delete,
    "deletecollection": _delete_collection,
}
