"""The checks of written objects: names and metadata, and what each kind asks for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from runner.lab.kube import names
from runner.lab.kube.failures import invalid
from runner.lab.kube.field_errors import (
    at_least,
    forbidden,
    named,
    one_of,
    required,
    required_name,
    wrong,
)
from runner.lab.kube.kinds import Json, Kind
from runner.lab.kube.pod_validation import pod_change, pod_spec, taints
from runner.lab.kube.role_validation import binding, role
from runner.lab.kube.selectors import object_selector

_ANNOTATIONS_MOST = 256 * 1024
_DATA_MOST = 1024 * 1024
_NAMES: Mapping[str, names.Rule] = {
    "Namespace": names.dns_label,
    **dict.fromkeys(
        ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"), names.path_segment
    ),
}
_IMMUTABLE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "DaemonSet": (("spec", "selector"),),
    "Deployment": (("spec", "selector"),),
    "ReplicaSet": (("spec", "selector"),),
    "Job": (("spec", "selector"), ("spec", "template"), ("spec", "completionMode")),
    "ResourceClaim": (("spec",),),
    "RuntimeClass": (("handler",),),
    "Secret": (("type",),),
}
_STATEFUL_FREE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
    "'minReadySeconds' are forbidden"
)


def validate(kind: Kind, old: Json | None, new: Json) -> None:
    """Raise 422 with every mistake found in an object about to be written."""
    causes = [*_metadata(kind, new["metadata"])]
    if old is not None:
        for path in _IMMUTABLE.get(kind.name, ()):
            causes += _immutable(path, old, new)
        if change := _CHANGES.get(kind.name):
            causes += change(old, new)
    if check := _CHECKS.get(kind.name):
        causes += check(new)
    if causes:
        raise invalid(kind, new["metadata"]["name"], causes)


def _metadata(kind: Kind, metadata: Json) -> Iterator[Json]:
    yield from named("metadata.name", metadata["name"], _NAMES.get(kind.name, names.dns_subdomain))
    yield from _labels(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        for why in names.qualified_name(key.lower()):
            yield wrong("metadata.annotations", key, why)
    size = sum(len(key) + len(value) for key, value in annotations.items())
    if size > _ANNOTATIONS_MOST:
        yield _too_long("metadata.annotations", _ANNOTATIONS_MOST)
    for finalizer in metadata.get("finalizers") or ():
        yield from named("metadata.finalizers", finalizer, names.qualified_name)
    yield from _owners(metadata.get("ownerReferences") or [])


def _labels(labels: Mapping[str, str], path: str) -> Iterator[Json]:
    for key, value in labels.items():
        yield from named(path, key, names.qualified_name)
        yield from named(path, value, names.label_value)


def _owners(references: list[Json]) -> Iterator[Json]:
    path = "metadata.ownerReferences"
    for reference in references:
        for field, word in (("apiVersion", "version"), ("kind", "kind"), ("name", "name")):
            if not reference.get(field):
                yield wrong(f"{path}.{field}", "", f"{word} must not be empty")
        if not reference.get("uid"):
            yield wrong(f"{path}.uid", "", "uid must not be empty")
    controllers = [entry for entry in references if entry.get("controller")]
    if len(controllers) > 1:
        one, other = (f"{entry.get('kind')}/{entry.get('name')}" for entry in controllers[:2])
        why = 'Only one reference can have Controller set to true. Found "true" in references for '
        yield wrong(path, references, f"{why}{one} and {other}")


def _too_long(path: str, most: int) -> Json:
    return {
        "reason": "FieldValueTooLong",
        "message": f"Too long: may not be more than {most} bytes",
        "field": path,
    }


def _immutable(path: tuple[str, ...], old: Json, new: Json) -> Iterator[Json]:
    before: object = old
    after: object = new
    for part in path:
        before = before.get(part) if isinstance(before, dict) else None
        after = after.get(part) if isinstance(after, dict) else None
    if before != after:
        yield wrong(".".join(path), after, "field is immutable")


def _config_map(item: Json) -> Iterator[Json]:
    data, binary = item.get("data") or {}, item.get("binaryData") or {}
    for field, entries in (("data", data), ("binaryData", binary)):
        for key in entries:
            yield from named(f"{field}[{key}]", key, names.config_key)
    for key in data.keys() & binary.keys():
        yield wrong(f"data[{key}]", key, "duplicate of key present in binaryData")
    if sum(map(len, (*data.values(), *binary.values()))) > _DATA_MOST:
        yield _too_long("", _DATA_MOST)


def _config_map_change(old: Json, new: Json) -> Iterator[Json]:
    if not old.get("immutable"):
        return
    why = "field is immutable when `immutable` is set"
    for field in ("immutable", "data", "binaryData"):
        if old.get(field) != new.get(field):
            yield forbidden(field, why)


def _secret(item: Json) -> Iterator[Json]:
    for key in item.get("data") or {}:
        yield from named(f"data[{key}]", key, names.config_key)


def _lease(item: Json) -> Iterator[Json]:
    spec = item.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        yield wrong("spec.leaseDurationSeconds", duration, "must be greater than 0")
    if spec.get("leaseTransitions", 0) < 0:
        why = "must be greater than or equal to 0"
        yield wrong("spec.leaseTransitions", spec["leaseTransitions"], why)


def _pod(item: Json) -> Iterator[Json]:
    return pod_spec(item["spec"], "spec")


def _node(item: Json) -> Iterator[Json]:
    """The real server calls the field metadata.taints, too."""
    return taints(item["spec"].get("taints") or (), "metadata.taints")


def _workload(item: Json) -> Iterator[Json]:
    """A DaemonSet, Deployment, ReplicaSet or StatefulSet."""
    spec, template = item["spec"], item["spec"]["template"]
    yield from at_least("spec.replicas", spec.get("replicas"), 0)
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from _labels(labels, "spec.template.labels")
    if spec.get("selector") is None:
        yield required("spec.selector")
        why = "`selector` does not match template `labels`"
        yield wrong("spec.template.metadata.labels", labels, why)
    else:
        yield from _selector(item["kind"], spec["selector"], "spec.selector")
        if not object_selector(spec["selector"])(labels):
            why = "`selector` does not match template `labels`"
            yield wrong("spec.template.metadata.labels", labels, why)
    yield from pod_spec(template["spec"], "spec.template.spec")
    if template["spec"].get("restartPolicy") != "Always":
        path = "spec.template.spec.restartPolicy"
        yield from one_of(path, template["spec"]["restartPolicy"], ("Always",))


def _selector(kind: str, selector: Json, path: str) -> Iterator[Json]:
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        called = {"DaemonSet": "daemonset", "StatefulSet": "statefulset"}.get(kind, "deployment")
        yield wrong(path, selector, f"empty selector is invalid for {called}")
    yield from _labels(selector.get("matchLabels") or {}, f"{path}.matchLabels")
    for index, rule in enumerate(selector.get("matchExpressions") or ()):
        place = f"{path}.matchExpressions[{index}]"
        yield from _expression(rule, place)


def _expression(rule: Json, path: str) -> Iterator[Json]:
    operator, values = rule.get("operator", ""), rule.get("values")
    if operator in ("In", "NotIn") and not values:
        why = "must be specified when `operator` is 'In' or 'NotIn'"
        yield required(f"{path}.values", why)
    elif operator in ("Exists", "DoesNotExist") and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield forbidden(f"{path}.values", why)
    elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
        yield wrong(f"{path}.operator", operator, "not a valid selector operator")
    yield from named(f"{path}.key", rule.get("key", ""), names.qualified_name)


def _job(item: Json) -> Iterator[Json]:
    spec = item["spec"]
    for field in ("parallelism", "completions", "backoffLimit"):
        yield from at_least(f"spec.{field}", spec.get(field), 0)
    yield from pod_spec(spec["template"]["spec"], "spec.template.spec")
    if spec["template"]["spec"].get("restartPolicy") == "Always":
        path = "spec.template.spec.restartPolicy"
        yield required(path, 'valid values: "OnFailure", "Never"')


def _stateful_set_change(old: Json, new: Json) -> Iterator[Json]:
    before, after = (
        {key: value for key, value in item["spec"].items() if key not in _STATEFUL_FREE}
        for item in (old, new)
    )
    if before != after:
        yield forbidden("spec", _STATEFUL)


def _binding_change(old: Json, new: Json) -> Iterator[Json]:
    if old["roleRef"] != new.get("roleRef"):
        yield wrong("roleRef", new.get("roleRef"), "cannot change roleRef")


def _budget(item: Json) -> Iterator[Json]:
    spec = item["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield wrong("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        value = spec.get(field, 0)
        if isinstance(value, int):
            yield from at_least(f"spec.{field}", value, 0)
        elif not value.removesuffix("%").isdigit() or not value.endswith("%"):
            why = "a valid percent string must be a numeric string followed by an ending '%' "
            why += "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            yield wrong(f"spec.{field}", value, why)
        elif int(value[:-1]) > 100:
            yield wrong(f"spec.{field}", value, "must not be greater than 100%")
    if spec.get("selector", {}) and not set(spec["selector"]) <= {"matchLabels"}:
        for index, rule in enumerate(spec["selector"].get("matchExpressions") or ()):
            yield from _expression(rule, f"spec.selector.matchExpressions[{index}]")


def _runtime_class(item: Json) -> Iterator[Json]:
    return named("handler", item.get("handler", ""), names.dns_label)


def _claim(item: Json) -> Iterator[Json]:
    for index, request in enumerate((item["spec"].get("devices") or {}).get("requests") or ()):
        path = f"spec.devices.requests[{index}]"
        yield from required_name(f"{path}.name", request.get("name"), names.dns_label)
        given = [field for field in ("exactly", "firstAvailable") if request.get(field)]
        if len(given) != 1:
            yield required(path, "exactly one of `exactly` or `firstAvailable` is required")
        elif given == ["exactly"] and not request["exactly"].get("deviceClassName"):
            yield required(f"{path}.exactly.deviceClassName")


def _event(item: Json) -> Iterator[Json]:
    about = item.get("involvedObject", {}).get("namespace", "")
    namespace = item["metadata"]["namespace"]
    if about != namespace and (about or namespace != "default"):
        yield wrong("involvedObject.namespace", about, "does not match event.namespace")


_CHECKS: Mapping[str, Callable[[Json], Iterator[Json]]] = {
    "ConfigMap": _config_map,
    "Secret": _secret,
    "Lease": _lease,
    "Pod": _pod,
    "Node": _node,
    **dict.fromkeys(("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"), _workload),
    "Job": _job,
    "PodDisruptionBudget": _budget,
    "RuntimeClass": _runtime_class,
    "ResourceClaim": _claim,
    "Event": _event,
    **dict.fromkeys(("ClusterRole", "Role"), role),
    **dict.fromkeys(("ClusterRoleBinding", "RoleBinding"), binding),
}
_CHANGES: Mapping[str, Callable[[Json, Json], Iterator[Json]]] = {
    "ConfigMap": _config_map_change,
    "Pod": pod_change,
    "StatefulSet": _stateful_set_change,
    **dict.fromkeys(("ClusterRoleBinding", "RoleBinding"), _binding_change),
}
