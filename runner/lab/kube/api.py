"""The API server itself: a request in, an answer out, as Kubernetes 1.36 would give it."""

from __future__ import annotations

from runner.lab.kube import failures, kinds, tables, writes
from runner.lab.kube.answers import Answer
from runner.lab.kube.authorization import authorize
from runner.lab.kube.bodies import read_as
from runner.lab.kube.deletion import DeleteOptions, delete
from runner.lab.kube.discovery import discovery
from runner.lab.kube.lists import Watch, list_objects
from runner.lab.kube.requests import Request, Target, target
from runner.lab.kube.reviews import review
from runner.lab.kube.schema import Struct
from runner.lab.kube.store import Store
from runner.lab.kube.subresources import read_log, scale_of
from runner.lab.kube.writes import existing

_DELETE_OPTIONS = Struct("meta_v1", "DeleteOptions")


def public(path: str) -> Answer | None:
    """What anyone may read without a token."""
    if path in ("/readyz", "/livez", "/healthz"):
        return Answer(200, "ok")
    return Answer(200, kinds.VERSION) if path == "/version" else None


def answer(store: Store, request: Request) -> Answer | Watch:
    """Answer a request of a known user; a watch is returned for the connection to follow."""
    try:
        found = discovery(request.path) or review(store, request) or _resource(store, request)
    except failures.ApiFailure as failure:
        found = Answer(failure.code, failure.body(), failure.headers)
    return found if isinstance(found, Watch) else found.warning(request.warnings)


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


def _get(store: Store, where: Target, request: Request) -> Answer:
    item = existing(store, where)
    if where.subresource in ("eviction", "binding", "token"):
        raise failures.method_not_allowed()
    if where.subresource == "log":
        return read_log(item, request)
    if where.subresource == "scale":
        return Answer(200, scale_of(item))
    if request.wants_table:
        return Answer(200, tables.table(where.kind, [item], {}))
    return Answer(200, item)


def _list(store: Store, where: Target, request: Request) -> Answer:
    found = list_objects(store, where.kind, where.namespace, request.query, request.wants_table)
    return Answer(200, found)


def _delete_options(request: Request) -> DeleteOptions:
    return DeleteOptions.of(read_as(request, _DELETE_OPTIONS), request.query)


def _delete(store: Store, where: Target, request: Request) -> Answer:
    options = _delete_options(request)
    return Answer(200, delete(store, where.kind, existing(store, where), options))


def _delete_collection(store: Store, where: Target, request: Request) -> Answer:
    options = _delete_options(request)
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
    "create": writes.create,
    "update": writes.update,
    "patch": writes.patch,
    "delete": _delete,
    "deletecollection": _delete_collection,
}
