"""What the API server fills in when a client leaves it out."""

from __future__ import annotations

import base64
from typing import Any

from runner.lab.kube.kinds import Json, Kind

_NODE_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)
_ROLES = "rbac.authorization.k8s.io"
_NOT_READY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def completed(kind: Kind, item: Json) -> Json:
    """The object with the defaults of its kind; a new one, unless nothing is missing."""
    fill = _FILL.get(kind.name)
    return fill(item) if fill else item


def _spec(item: Json, **defaults: Any) -> Json:
    return {**item, "spec": {**defaults, **(item.get("spec") or {})}}


def _status(item: Json, **defaults: Any) -> Json:
    return {**item, "status": {**defaults, **(item.get("status") or {})}}


def _pod(item: Json) -> Json:
    spec = pod_spec(item.get("spec") or {})
    spec.setdefault("priority", 0)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec["tolerations"] = _with_not_ready(spec.get("tolerations", []))
    return _status({**item, "spec": spec}, phase="Pending", qosClass=_quality(spec))


def _with_not_ready(tolerations: list[Json]) -> list[Json]:
    keys = {toleration.get("key") for toleration in tolerations}
    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in _NOT_READY
        if key not in keys and None not in keys
    ]
    return [*tolerations, *added]


def pod_spec(spec: Json) -> Json:
    """Defaults of a pod's spec, in a pod or in a template."""
    filled: Json = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        **spec,
    }
    for name in ("initContainers", "containers"):
        if name in filled:
            filled[name] = [_container(container) for container in filled[name]]
    return filled


def _container(container: Json) -> Json:
    latest = container.get("image", "").rpartition("/")[2].partition(":")[2] in ("", "latest")
    resources = container.get("resources", {})
    if limits := resources.get("limits"):
        resources = {**resources, "requests": {**limits, **resources.get("requests", {})}}
    return {
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always" if latest else "IfNotPresent",
        **container,
        "resources": resources,
    }


def _quality(spec: Json) -> str:
    """The QoS class, by cpu and memory alone as kubelet counts it."""
    limited = requested = True
    any_set = False
    for container in spec.get("containers", ()):
        limits = container.get("resources", {}).get("limits", {})
        requests = container.get("resources", {}).get("requests", {})
        limited &= {"cpu", "memory"} <= set(limits)
        requested &= all(requests.get(name) == limits.get(name) for name in ("cpu", "memory"))
        any_set |= bool({"cpu", "memory"} & (set(limits) | set(requests)))
    if limited and requested and any_set:
        return "Guaranteed"
    return "Burstable" if any_set else "BestEffort"


def _template(spec: Json) -> Json:
    template = spec.get("template") or {}
    return {**spec, "template": {**template, "spec": pod_spec(template.get("spec") or {})}}


def _daemon_set(item: Json) -> Json:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    filled = _spec(item, updateStrategy=rolling, revisionHistoryLimit=10)
    generation = str(item["metadata"].get("generation", 1))
    annotations = {
        **(item["metadata"].get("annotations") or {}),
        "deprecated.daemonset.template.generation": generation,
    }
    filled["metadata"] = {**item["metadata"], "annotations": annotations}
    filled["spec"] = _template(filled["spec"])
    return _status(
        filled,
        currentNumberScheduled=0,
        numberMisscheduled=0,
        desiredNumberScheduled=0,
        numberReady=0,
    )


def _deployment(item: Json) -> Json:
    rolling = {"maxUnavailable": "25%", "maxSurge": "25%"}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    filled = _spec(
        item, replicas=1, strategy=strategy, revisionHistoryLimit=10, progressDeadlineSeconds=600
    )
    filled["spec"] = _template(filled["spec"])
    return _status(filled)


def _replica_set(item: Json) -> Json:
    filled = _spec(item, replicas=1)
    filled["spec"] = _template(filled["spec"])
    return _status(filled, replicas=0)


def _stateful_set(item: Json) -> Json:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    filled = _spec(
        item,
        replicas=1,
        updateStrategy=rolling,
        podManagementPolicy="OrderedReady",
        revisionHistoryLimit=10,
    )
    filled["spec"] = _template(filled["spec"])
    return _status(filled, replicas=0, availableReplicas=0)


def _secret(item: Json) -> Json:
    """`stringData` is only written: it becomes data."""
    texts = item.get("stringData") or {}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    kept = {key: value for key, value in item.items() if key != "stringData"}
    data = {**(item.get("data") or {}), **encoded}
    return {"type": "Opaque", **kept, **({"data": data} if data else {})}


def _job(item: Json) -> Json:
    filled = _spec(
        item,
        parallelism=1,
        completions=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
    )
    uid = item["metadata"].get("uid", "")
    own = {"batch.kubernetes.io/controller-uid": uid}
    template = filled["spec"].get("template") or {}
    metadata = template.get("metadata") or {}
    labels = {
        **own,
        "batch.kubernetes.io/job-name": item["metadata"]["name"],
        **(metadata.get("labels") or {}),
    }
    filled["spec"].setdefault("selector", {"matchLabels": own})
    filled["spec"]["template"] = {**template, "metadata": {**metadata, "labels": labels}}
    filled["spec"] = _template(filled["spec"])
    return _status(filled)


def _node(item: Json) -> Json:
    filled = _status(_spec(item), daemonEndpoints={"kubeletEndpoint": {"Port": 0}})
    info = {**dict.fromkeys(_NODE_INFO, ""), **(filled["status"].get("nodeInfo") or {})}
    return {**filled, "status": {**filled["status"], "nodeInfo": info}}


def _budget(item: Json) -> Json:
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    return _status(_spec(item), **dict.fromkeys(counts, 0))


def _namespace(item: Json) -> Json:
    labels = {
        **(item["metadata"].get("labels") or {}),
        "kubernetes.io/metadata.name": item["metadata"]["name"],
    }
    item = {**item, "metadata": {**item["metadata"], "labels": labels}}
    return _status(_spec(item, finalizers=["kubernetes"]), phase="Active")


def _binding(item: Json) -> Json:
    """Whom and what a binding names is of the group of roles, service accounts excepted."""
    reference = {"apiGroup": _ROLES, **(item.get("roleRef") or {})}
    subjects = [
        subject if subject.get("kind") == "ServiceAccount" else {"apiGroup": _ROLES, **subject}
        for subject in item.get("subjects") or ()
    ]
    return {**item, "roleRef": reference, **({"subjects": subjects} if subjects else {})}


def _event(item: Json) -> Json:
    return {
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
        "source": {},
        **item,
    }


_FILL = {
    "Pod": _pod,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Job": _job,
    "Secret": _secret,
    "StatefulSet": _stateful_set,
    "Node": _node,
    "PodDisruptionBudget": _budget,
    "Namespace": _namespace,
    "Event": _event,
    "ClusterRoleBinding": _binding,
    "RoleBinding": _binding,
}
