"""The API server's refusals: Status objects in the form a real Kubernetes 1.36 gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from runner.lab.kube.kinds import Json, Kind


class ApiFailure(Exception):
    """A request the API answers with a Status object of failure."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = dict(headers or {})

    def body(self) -> Json:
        """The Status object."""
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


def success(details: Json | None = None, code: int | None = None) -> Json:
    """The Status object of success."""
    status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = details
    if code is not None:
        status["code"] = code
    return status


def details_of(kind: Kind, name: str = "") -> Json:
    details: Json = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    return {**details, "kind": kind.plural}


def cause(reason: str, message: str, field: str = "") -> Json:
    return {"reason": reason, "message": message} | ({"field": field} if field else {})


def bad_request(message: str) -> ApiFailure:
    return ApiFailure(400, "BadRequest", message)


def unauthorized() -> ApiFailure:
    return ApiFailure(401, "Unauthorized", "Unauthorized")


def unknown_path() -> ApiFailure:
    message = "the server could not find the requested resource"
    return ApiFailure(404, "NotFound", message, {})


def not_found(kind: Kind, name: str) -> ApiFailure:
    message = f'{kind.resource} "{name}" not found'
    return ApiFailure(404, "NotFound", message, details_of(kind, name))


def method_not_allowed() -> ApiFailure:
    message = "the server does not allow this method on the requested resource"
    return ApiFailure(405, "MethodNotAllowed", message, {})


def already_exists(kind: Kind, name: str) -> ApiFailure:
    message = f'{kind.resource} "{name}" already exists'
    return ApiFailure(409, "AlreadyExists", message, details_of(kind, name))


def stale(kind: Kind, name: str) -> ApiFailure:
    message = (
        f'Operation cannot be fulfilled on {kind.resource} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiFailure(409, "Conflict", message, details_of(kind, name))


def precondition(kind: Kind, name: str, what: str, wanted: str, found: str) -> ApiFailure:
    message = (
        f'Operation cannot be fulfilled on {kind.name} "{name}": the {what} in the precondition '
        f"({wanted}) does not match the {what} in record ({found}). The object might have been "
        + ("deleted and then recreated" if what == "UID" else "modified")
    )
    return ApiFailure(409, "Conflict", message, {"name": name, "kind": kind.name})


def other_uid(kind: Kind, name: str, wanted: str, found: str) -> ApiFailure:
    message = (
        f'Operation cannot be fulfilled on {kind.resource} "{name}": StorageError: invalid object, '
        f"Code: 4, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, "
        f"UID in object meta: {found}"
    )
    return ApiFailure(409, "Conflict", message, details_of(kind, name))


def expired(message: str) -> ApiFailure:
    return ApiFailure(410, "Expired", message)


def unsupported_media_type() -> ApiFailure:
    return ApiFailure(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def unreadable_media_type() -> ApiFailure:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )
    return ApiFailure(415, "UnsupportedMediaType", message, {})


def rejected_patch() -> ApiFailure:
    message = "the server rejected our request due to an error in our request"
    return ApiFailure(422, "Invalid", message, {})


def invalid(kind: Kind, name: str, causes: Sequence[Json]) -> ApiFailure:
    """An object that validation refuses; each cause has reason, message and field."""
    texts = list(dict.fromkeys(f"{entry['field']}: {entry['message']}" for entry in causes))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: Json = {"name": name}
    if kind.group:
        details["group"] = kind.group
    details |= {"kind": kind.name, "causes": list(causes)}
    return ApiFailure(422, "Invalid", f'{kind.qualified} "{name}" is invalid: {joined}', details)


def invalid_value(field: str, value: str, why: str) -> Json:
    return cause("FieldValueInvalid", f"Invalid value: {value}: {why}", field)


def invalid_patch(shown: str, why: str) -> ApiFailure:
    """A patch that leaves no object of its kind; the server names neither kind nor object."""
    entry = invalid_value("patch", json.dumps(shown, ensure_ascii=False), why)
    text = f' "" is invalid: patch: {entry["message"]}'
    return ApiFailure(422, "Invalid", text, {"causes": [entry]})


def unsupported(field: str, value: object, supported: Sequence[str]) -> Json:
    listed = ", ".join(f'"{entry}"' for entry in supported)
    text = f"Unsupported value: {json.dumps(value)}: supported values: {listed}"
    return cause("FieldValueNotSupported", text, field)


def bad_option(method: str, entry: Json) -> ApiFailure:
    """A parameter of the request itself that has a value it may not have."""
    verbs = {"POST": "Create", "PUT": "Update", "PATCH": "Patch", "DELETE": "Delete"}
    kind = f"{verbs.get(method, 'Get')}Options"
    details = {"group": "meta.k8s.io", "kind": kind, "causes": [entry]}
    text = f'{kind}.meta.k8s.io "" is invalid: {entry["field"]}: {entry["message"]}'
    return ApiFailure(422, "Invalid", text, details)


def internal(message: str) -> ApiFailure:
    """An error that the server passes on as it is."""
    return ApiFailure(500, "", message)


def manager_required() -> ApiFailure:
    message = "Required value: is required for apply patch"
    return bad_option("PATCH", cause("FieldValueRequired", message, "fieldManager"))


def apply_conflict(causes: Sequence[Json]) -> ApiFailure:
    texts = [f"{entry['message']}: {entry['field']}" for entry in causes]
    if len(texts) == 1:
        message = f"Apply failed with 1 conflict: {texts[0]}"
    else:
        lines = "\n".join(f"- {text}" for text in texts)
        message = f"Apply failed with {len(texts)} conflicts:\n{lines}"
    return ApiFailure(409, "Conflict", message, {"causes": list(causes)})


def forbidden_user(
    kind: Kind, name: str, user: str, verb: str, subresource: str, namespace: str
) -> ApiFailure:
    subject = kind.resource + (f' "{name}"' if name else "")
    resource = kind.plural + (f"/{subresource}" if subresource else "")
    place = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" '
        f'in API group "{kind.group}" {place}'
    )
    return ApiFailure(403, "Forbidden", message, details_of(kind, name))


def may_not_impersonate(user: str, name: str) -> ApiFailure:
    message = (
        f'users "{name}" is forbidden: User "{user}" cannot impersonate resource "users" '
        'in API group "" at the cluster scope'
    )
    return ApiFailure(403, "Forbidden", message, {"name": name, "kind": "users"})


def terminating_namespace(kind: Kind, name: str, namespace: str) -> ApiFailure:
    message = (
        f'{kind.resource} "{name}" is forbidden: unable to create new content in namespace '
        f"{namespace} because it is being terminated"
    )
    text = f"namespace {namespace} is being terminated"
    causes = [cause("NamespaceTerminating", text, "metadata.namespace")]
    return ApiFailure(403, "Forbidden", message, {**details_of(kind, name), "causes": causes})


def no_runtime_class(pod: str, name: str) -> ApiFailure:
    message = f'pods "{pod}" is forbidden: pod rejected: RuntimeClass "{name}" not found'
    return ApiFailure(403, "Forbidden", message, {"name": pod, "kind": "pods"})


def no_priority_class(pod: str, name: str) -> ApiFailure:
    message = f'pods "{pod}" is forbidden: no PriorityClass with name {name} was found'
    return ApiFailure(403, "Forbidden", message, {"name": pod, "kind": "pods"})


def invalid_scale(name: str, entry: Json) -> ApiFailure:
    details = {"name": name, "group": "autoscaling", "kind": "Scale", "causes": [entry]}
    text = f'Scale.autoscaling "{name}" is invalid: {entry["field"]}: {entry["message"]}'
    return ApiFailure(422, "Invalid", text, details)


_BUDGET = "Cannot evict pod as it would violate the pod's disruption budget."


def budget_blocks(name: str, needed: int, healthy: int) -> ApiFailure:
    text = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
    details = {"causes": [cause("DisruptionBudget", text)]}
    return ApiFailure(429, "TooManyRequests", _BUDGET, details)


def two_budgets() -> ApiFailure:
    message = (
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
        "support."
    )
    return ApiFailure(500, "", message)
