"""The checks of a pod's spec, in a pod or in a template, and of changes of a pod.

Source: pkg/apis/core/validation/validation.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runner.lab.kube import quantities
from runner.lab.kube.field_errors import (
    duplicate,
    forbidden,
    missing,
    named,
    one_of,
    required,
    required_name,
    unique,
    wrong,
)
from runner.lab.kube.kinds import Json
from runner.lab.kube.names import dns_label, dns_subdomain, label_value, qualified_name

RESTARTS = ("Always", "OnFailure", "Never")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_STANDARD = ("cpu", "memory", "ephemeral-storage")
_SOURCES = ("emptyDir", "hostPath", "secret", "persistentVolumeClaim", "downwardAPI", "configMap")
"""The order in which the server looks at volumes; the second that it finds is one too many."""
_CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
    "to 1 if it was previously negative)"
)


def pod_spec(spec: Json, path: str) -> Iterator[Json]:
    """Every mistake in a pod's spec; `path` is where it stands."""
    volumes = {volume.get("name", "") for volume in spec.get("volumes") or ()}
    yield from _volumes(spec.get("volumes") or (), f"{path}.volumes")
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    names: list[str] = []
    for field in ("containers", "initContainers"):
        containers = spec.get(field) or ()
        for index, container in enumerate(containers):
            yield from _container(container, f"{path}.{field}[{index}]", volumes)
        yield from unique(f"{path}.{field}", (entry.get("name", "") for entry in containers))
        if field == "initContainers":
            for index, entry in enumerate(containers):
                if entry.get("name") in names:
                    yield duplicate(f"{path}.{field}[{index}].name", entry["name"])
        names += [entry.get("name", "") for entry in containers]
    yield from one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTARTS)
    yield from _tolerations(spec.get("tolerations") or (), f"{path}.tolerations")
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        why = "must be greater than or equal to 0"
        yield wrong(f"{path}.terminationGracePeriodSeconds", grace, why)
    for field in ("nodeName", "serviceAccountName", "runtimeClassName"):
        if spec.get(field):
            yield from named(f"{path}.{field}", spec[field], dns_subdomain)


def _volumes(volumes: Sequence[Json], path: str) -> Iterator[Json]:
    for index, volume in enumerate(volumes):
        place = f"{path}[{index}]"
        yield from required_name(f"{place}.name", volume.get("name"), dns_label)
        known = [key for key in _SOURCES if key in volume]
        sources = known + [key for key in volume if key not in ("name", *known)]
        if not sources:
            yield required(place, "must specify a volume type")
        for extra in sources[1:]:
            yield forbidden(f"{place}.{extra}", "may not specify more than 1 volume type")
        if "hostPath" in volume and not volume["hostPath"].get("path"):
            yield required(f"{place}.hostPath.path")
    yield from unique(path, (volume.get("name", "") for volume in volumes))


def _container(container: Json, path: str, volumes: set[str]) -> Iterator[Json]:
    yield from required_name(f"{path}.name", container.get("name"), dns_label)
    if not container.get("image"):
        yield required(f"{path}.image")
    policies = ("Always", "IfNotPresent", "Never")
    yield from one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), policies)
    for index, variable in enumerate(container.get("env") or ()):
        yield from _variable(variable, f"{path}.env[{index}]")
    for index, port in enumerate(container.get("ports") or ()):
        yield from _port(port, f"{path}.ports[{index}]")
    yield from _mounts(container.get("volumeMounts") or (), f"{path}.volumeMounts", volumes)
    yield from _resources(container.get("resources") or {}, f"{path}.resources")


def _variable(variable: Json, path: str) -> Iterator[Json]:
    if not variable.get("name"):
        yield required(f"{path}.name")
    if variable.get("value") and variable.get("valueFrom"):
        why = "may not be specified when `value` is not empty"
        yield wrong(f"{path}.valueFrom", "", why)


def _port(port: Json, path: str) -> Iterator[Json]:
    number = port.get("containerPort", 0)
    if not number:
        yield required(f"{path}.containerPort")
    elif not 0 < number < 65536:
        yield wrong(f"{path}.containerPort", number, "must be between 1 and 65535, inclusive")
    yield from one_of(f"{path}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))


def _mounts(mounts: Sequence[Json], path: str, volumes: set[str]) -> Iterator[Json]:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        place, name, where = f"{path}[{index}]", mount.get("name"), mount.get("mountPath")
        if not name:
            yield required(f"{place}.name")
        elif name not in volumes:
            yield missing(f"{place}.name", name)
        if not where:
            yield required(f"{place}.mountPath")
        elif where in seen:
            yield wrong(f"{place}.mountPath", where, "must be unique")
        seen.add(where or "")


def _resources(resources: Json, path: str) -> Iterator[Json]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            yield from _amount(name, amount, f"{path}.{field}[{name}]")
    for name, amount in requests.items():
        yield from _request(name, amount, limits, path)


def _amount(name: str, amount: str, path: str) -> Iterator[Json]:
    yield from named(path, name, qualified_name)
    if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        yield wrong(path, name, "must be a standard resource type or fully qualified")
        yield wrong(path, name, "must be a standard resource for containers")
    value = quantities.value(amount)
    if value < 0:
        yield wrong(path, amount, "must be greater than or equal to 0")
    if _extended(name) and value.denominator != 1:
        yield wrong(path, amount, "must be an integer")


def _extended(name: str) -> bool:
    """A resource that cannot be overcommitted: its request is its limit."""
    return "/" in name and "kubernetes.io/" not in name


def _request(name: str, amount: str, limits: Mapping[str, str], path: str) -> Iterator[Json]:
    if name not in limits:
        if _extended(name):
            why = "Limit must be set for non overcommitable resources"
            yield required(f"{path}.limits", why)
        return
    asked, most = quantities.value(amount), quantities.value(limits[name])
    if _extended(name) and asked != most:
        yield wrong(f"{path}.requests", amount, f"must be equal to {name} limit of {limits[name]}")
    elif asked > most:
        why = f"must be less than or equal to {name} limit of {limits[name]}"
        yield wrong(f"{path}.requests", amount, why)


def _tolerations(tolerations: Sequence[Json], path: str) -> Iterator[Json]:
    for index, toleration in enumerate(tolerations):
        place, key = f"{path}[{index}]", toleration.get("key", "")
        operator = toleration.get("operator", "")
        if key:
            yield from named(f"{place}.key", key, qualified_name)
        elif operator != "Exists":
            why = "operator must be Exists when `key` is empty, which means "
            yield wrong(f"{place}.operator", operator, why + '"match all values and all keys"')
        if "tolerationSeconds" in toleration and toleration.get("effect") != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield wrong(f"{place}.effect", toleration.get("effect", ""), why)
        yield from one_of(f"{place}.operator", operator, ("Equal", "Exists"))
        if operator == "Exists" and toleration.get("value"):
            why = "value must be empty when `operator` is 'Exists'"
            yield wrong(f"{place}.operator", toleration, why)
        yield from one_of(f"{place}.effect", toleration.get("effect"), EFFECTS)


def pod_change(old: Json, new: Json) -> Iterator[Json]:
    """What of a pod's spec may not change any more."""
    before, after = old["spec"], new["spec"]
    for field in ("containers", "initContainers"):
        if len(before.get(field) or ()) != len(after.get(field) or ()):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    if any(known not in (after.get("tolerations") or ()) for known in before["tolerations"]):
        why = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden("spec.tolerations", why)
    if _fixed(before) != _fixed(after):
        yield forbidden("spec", _CHANGEABLE)


def _fixed(spec: Json) -> Json:
    """A pod's spec without what may change; scheduling gates may go."""
    free = ("activeDeadlineSeconds", "schedulingGates", "tolerations")
    kept = {key: value for key, value in spec.items() if key not in free}
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [{**entry, "image": ""} for entry in kept[field]]
    return kept


def taints(entries: Sequence[Json], path: str) -> Iterator[Json]:
    """Every mistake in a node's taints."""
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(entries):
        place, key, effect = f"{path}[{index}]", taint.get("key", ""), taint.get("effect", "")
        yield from named(f"{place}.key", key, qualified_name)
        yield from named(f"{place}.value", taint.get("value", ""), label_value)
        if not effect:
            yield required(f"{place}.effect")
        yield from one_of(f"{place}.effect", effect, EFFECTS)
        if (key, effect) in seen:
            yield duplicate(place, taint, "taints must be unique by key and effect pair")
        seen.add((key, effect))
