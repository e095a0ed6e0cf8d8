"""Creating, replacing and patching objects, and server-side apply."""

from __future__ import annotations

import secrets
import string
import uuid

from runner.lab.kube import bodies, clock, failures, ownership, subresources
from runner.lab.kube.admission import admit
from runner.lab.kube.answers import Answer
from runner.lab.kube.authorization import authorize
from runner.lab.kube.defaults import completed
from runner.lab.kube.field_errors import forbidden, wrong
from runner.lab.kube.golang import quoted
from runner.lab.kube.kinds import KIND, Json, Kind
from runner.lab.kube.patches import PATCHES
from runner.lab.kube.requests import Request, Target
from runner.lab.kube.store import Store
from runner.lab.kube.validation import validate

_APPLY = ("application/apply-patch+yaml", "application/apply-patch+json")
_KEPT = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""Metadata no client can change."""
_RESET = (
    *("Pod", "PodDisruptionBudget", "Namespace", "ResourceClaim"),
    *("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet", "Job"),
)
"""Kinds whose status a client cannot set while creating."""


def existing(store: Store, where: Target) -> Json:
    """The object that a path names.

    Raises:
        ApiFailure: 404 where there is none.
    """
    item = store.get(where.kind, where.namespace, where.name)
    if item is None:
        raise failures.not_found(where.kind, where.name)
    return item


def create(store: Store, where: Target, request: Request) -> Answer:
    """Answer a POST: of a new object, an Eviction or a Binding."""
    if where.subresource == "eviction":
        check_namespace(store, where, where.name)
        return subresources.evict_pod(store, where, request, existing(store, where))
    if where.subresource == "binding":
        return subresources.bind(store, where, request, existing(store, where))
    if where.name:
        raise failures.method_not_allowed()
    return _add(store, where, bodies.read(request, where.kind), request, "Update")


def check_namespace(store: Store, where: Target, name: str) -> None:
    """Nothing is created in a namespace that is missing or terminating."""
    if not where.kind.namespaced:
        return
    namespace = store.get(KIND["Namespace"], "", where.namespace)
    if namespace is None:
        raise failures.not_found(KIND["Namespace"], where.namespace)
    if "deletionTimestamp" in namespace["metadata"]:
        raise failures.terminating_namespace(where.kind, name, where.namespace)


def _add(store: Store, where: Target, body: Json, request: Request, operation: str) -> Answer:
    """Create an object: by POST, by server-side apply, or by PUT of a Lease."""
    kind = where.kind
    metadata = _created(where, body)
    check_namespace(store, where, metadata["name"])
    if store.get(kind, where.namespace, metadata["name"]) is not None:
        raise failures.already_exists(kind, metadata["name"])
    new = {"apiVersion": kind.api_version, "kind": kind.name, **body, "metadata": metadata}
    new |= {"apiVersion": kind.api_version, "kind": kind.name}
    if kind.name in _RESET:
        new.pop("status", None)
    owner = _owner(kind, request, operation, "")
    new = ownership.record(None, _without_managers(new), owner)
    new = completed(kind, new)
    if kind.name == "Pod":
        new = admit(store, new)
    validate(kind, None, new)
    return Answer(201, new if request.dry_run else store.put(kind, new))


def _created(where: Target, body: Json) -> Json:
    """The metadata of a new object: what was given, and what the server decides.

    Raises:
        ApiFailure: 400 for another namespace than the path's or a resourceVersion, 422 without a
            name.
    """
    kind, metadata = where.kind, dict(body.get("metadata") or {})
    if kind.namespaced and (metadata.get("namespace") or where.namespace) != where.namespace:
        raise failures.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if metadata.get("generateName") and not metadata.get("name"):
        metadata["name"] = metadata["generateName"] + _suffix()
    if not metadata.get("name"):
        text = "Required value: name or generateName is required"
        causes = [failures.cause("FieldValueRequired", text, "metadata.name")]
        raise failures.invalid(kind, "", causes)
    if metadata.get("resourceVersion"):
        raise failures.bad_request("resourceVersion should not be set on objects to be created")
    kept = {key: value for key, value in metadata.items() if key not in (*_KEPT, "namespace")}
    kept |= {"uid": str(uuid.uuid4()), "creationTimestamp": clock.now()}
    kept |= {"namespace": where.namespace} if kind.namespaced else {}
    return kept | ({"generation": 1} if kind.generation else {})


def _suffix() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))


def _owner(kind: Kind, request: Request, operation: str, subresource: str) -> ownership.Owner:
    return ownership.Owner(
        request.manager, operation, kind.api_version, clock.now(), subresource, frozenset()
    )


def _without_managers(item: Json) -> Json:
    metadata = {k: v for k, v in item["metadata"].items() if k != "managedFields"}
    return {**item, "metadata": metadata}


def update(store: Store, where: Target, request: Request) -> Answer:
    """Answer a PUT."""
    if where.subresource == "scale":
        return _scale(store, where, request)
    if where.subresource not in ("", "status"):
        raise failures.method_not_allowed()
    body = bodies.read(request, where.kind)
    _check_name(where, body)
    if where.kind.name == "Lease" and store.get(where.kind, where.namespace, where.name) is None:
        return _add(store, where, body, request, "Update")
    old, metadata = existing(store, where), body["metadata"]
    if (given := metadata.get("uid")) and given != old["metadata"]["uid"]:
        raise failures.other_uid(where.kind, where.name, given, old["metadata"]["uid"])
    if not metadata.get("resourceVersion") and not where.kind.unconditional_update:
        why = failures.invalid_value(
            "metadata.resourceVersion", "0", "must be specified for an update"
        )
        raise failures.invalid(where.kind, where.name, [why])
    return _replace(store, where, request, old, body)


def _check_name(where: Target, body: Json) -> None:
    """The body of a write to a named object has to name the same one."""
    metadata = body.get("metadata") or {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name:
        raise failures.bad_request(
            f"the name of the object ({where.name} based on URL) was undeterminable: "
            "name must be provided"
        )
    if name != where.name:
        raise failures.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({where.name})"
        )
    if where.kind.namespaced and namespace and namespace != where.namespace:
        raise failures.bad_request(
            f"the namespace of the object ({namespace}) does not match the namespace on the "
            f"request ({where.namespace})"
        )


def patch(store: Store, where: Target, request: Request) -> Answer:
    """Answer a PATCH."""
    if request.content_type in _APPLY:
        return _server_side_apply(store, where, request)
    change = PATCHES.get(request.content_type)
    if change is None:
        raise failures.unsupported_media_type()
    if "force" in request.query:
        text = "Forbidden: may not be specified for non-apply patch"
        raise failures.bad_option("PATCH", failures.cause("FieldValueForbidden", text, "force"))
    if where.subresource == "scale":
        return _scale(store, where, request)
    old = existing(store, where)
    new = bodies.patched(request, where.kind, change(old, request.parsed()[0]))
    _check_name(where, new)
    return _replace(store, where, request, old, new)


def _scale(store: Store, where: Target, request: Request) -> Answer:
    old = existing(store, where)
    whole = Target(where.kind, where.namespace, where.name)
    answer = _replace(store, whole, request, old, subresources.rescaled(request, where, old))
    assert isinstance(answer.body, dict)
    return Answer(200, subresources.scale_of(answer.body))


def _server_side_apply(store: Store, where: Target, request: Request) -> Answer:
    if not request.query.get("fieldManager"):
        raise failures.manager_required()
    body = bodies.apply_configuration(request, where.kind, where.namespace, where.name)
    named = {"name": where.name, **(body.get("metadata") or {})}
    body = {**body, "metadata": named}
    _check_name(where, body)
    owner = _owner(where.kind, request, "Apply", where.subresource)
    old = store.get(where.kind, where.namespace, where.name)
    if old is None:
        authorize(store, where, request, "create")
        return _add(store, where, bodies.converted(where.kind, body), request, "Apply")
    new = ownership.apply(old, body, owner, request.query.get("force") == "true")
    return _store(
        store, where, request, old, _settled(where, old, bodies.converted(where.kind, new))
    )


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
        ApiFailure: 409 for an outdated resourceVersion, 422 when it is invalid.
    """
    kind, metadata = where.kind, dict(new.get("metadata") or {})
    before = old["metadata"]
    if metadata.get("resourceVersion", before["resourceVersion"]) != before["resourceVersion"]:
        raise failures.stale(kind, where.name)
    _check_fixed(where, metadata, before)
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


def _check_fixed(where: Target, given: Json, before: Json) -> None:
    """Who an object is and that it is being deleted cannot be changed by a write.

    Another creationTimestamp is ignored, and a deletion that has begun stays as it is.
    """
    causes = [
        wrong(f"metadata.{key}", given[key], "field is immutable")
        for key in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")
        if given.get(key) and (key == "uid" or key not in before) and given[key] != before.get(key)
    ]
    added = [
        name for name in given.get("finalizers") or () if name not in before.get("finalizers", ())
    ]
    if added and "deletionTimestamp" in before:
        why = "no new finalizers can be added if the object is being deleted, found new finalizers "
        causes.append(forbidden("metadata.finalizers", why + quoted(added)))
    if causes:
        raise failures.invalid(where.kind, where.name, causes)


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
