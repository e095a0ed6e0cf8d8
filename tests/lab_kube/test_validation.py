"""Objects that a real server refuses are refused in its words, with the fields it names."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab.kube.kinds import KIND, Json
from tests.lab_kube.asking import MERGE, ask, made, refused, started

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SELECTOR = "`selector` does not match template `labels`"


def path_of(kind: str) -> str:
    known = KIND[kind]
    base = f"/apis/{known.api_version}" if known.group else "/api/v1"
    return (
        f"{base}/namespaces/default/{known.plural}"
        if known.namespaced
        else (f"{base}/{known.plural}")
    )


def container(**fields: Any) -> Json:
    return {"name": "c", "image": "x", **fields}


def pod(*containers: Json, **spec: Any) -> Json:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), **spec}}


def workload(**spec: Any) -> Json:
    labels = {"app": "w"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container()]}}
    spec = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {"metadata": {"name": "w"}, "spec": spec}


def named(name: str, **metadata: Any) -> Json:
    return {"metadata": {"name": name, **metadata}}


def role(**rule: Any) -> Json:
    return {**named("r"), "rules": [rule]}


def binding(reference: Json, *subjects: Json) -> Json:
    return {**named("b"), "roleRef": reference, "subjects": list(subjects)}


GPU = "nvidia.com/gpu"
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
CASES: list[tuple[str, Json, dict[str, str]]] = [
    ("Namespace", named("Gpu"), {"metadata.name": f'Invalid value: "Gpu": {LABEL}'}),
    ("Pod", pod(), {"spec.containers": "Required value"}),
    ("Pod", pod({"name": "c"}), {"spec.containers[0].image": "Required value"}),
    ("Pod", pod({"image": "x"}), {"spec.containers[0].name": "Required value"}),
    (
        "Pod",
        pod(container(name="A_b")),
        {"spec.containers[0].name": f'Invalid value: "A_b": {LABEL}'},
    ),
    (
        "Pod",
        pod(container(), container()),
        {"spec.containers[1].name": 'Duplicate value: "c"'},
    ),
    (
        "Pod",
        pod(container(imagePullPolicy="Sometimes")),
        {
            "spec.containers[0].imagePullPolicy": 'Unsupported value: "Sometimes": supported '
            'values: "Always", "IfNotPresent", "Never"'
        },
    ),
    (
        "Pod",
        pod(container(), restartPolicy="Perhaps"),
        {
            "spec.restartPolicy": 'Unsupported value: "Perhaps": supported values: "Always", '
            '"OnFailure", "Never"'
        },
    ),
    (
        "Pod",
        pod(container(volumeMounts=[{"name": "v", "mountPath": "/v"}])),
        {"spec.containers[0].volumeMounts[0].name": 'Not found: "v"'},
    ),
    (
        "Pod",
        pod(container(), volumes=[{"name": "v", "hostPath": {"path": "/"}, "emptyDir": {}}]),
        {"spec.volumes[0].hostPath": "Forbidden: may not specify more than 1 volume type"},
    ),
    (
        "Pod",
        pod(container(ports=[{"containerPort": 70000}])),
        {
            "spec.containers[0].ports[0].containerPort": "Invalid value: 70000: must be between 1 "
            "and 65535, inclusive"
        },
    ),
    (
        "Pod",
        pod(container(env=[{"value": "x"}])),
        {"spec.containers[0].env[0].name": "Required value"},
    ),
    (
        "Pod",
        pod(container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
        {
            "spec.containers[0].resources.requests": 'Invalid value: "2": must be less than or '
            "equal to cpu limit of 1"
        },
    ),
    (
        "Pod",
        pod(container(resources={"requests": {GPU: "1"}})),
        {
            "spec.containers[0].resources.limits": "Required value: Limit must be set for non "
            "overcommitable resources"
        },
    ),
    (
        "Pod",
        pod(container(resources={"requests": {GPU: "1"}, "limits": {GPU: "2"}})),
        {
            "spec.containers[0].resources.requests": 'Invalid value: "1": must be equal to '
            "nvidia.com/gpu limit of 2"
        },
    ),
    (
        "Pod",
        pod(container(resources={"limits": {"gpu": "1"}})),
        {
            "spec.containers[0].resources.limits[gpu]": 'Invalid value: "gpu": must be a standard '
            "resource type or fully qualified",
            "spec.containers[0].resources.requests[gpu]": 'Invalid value: "gpu": must be a '
            "standard resource type or fully qualified",
        },
    ),
    (
        "Pod",
        pod(container(), tolerations=[{"key": "a", "operator": "Is"}]),
        {
            "spec.tolerations[0].operator": 'Unsupported value: "Is": supported values: "Equal", '
            '"Exists"'
        },
    ),
    (
        "Pod",
        pod(container(), tolerations=[{"effect": "NoSchedule"}]),
        {
            "spec.tolerations[0].operator": 'Invalid value: "": operator must be Exists when `key` '
            'is empty, which means "match all values and all keys"'
        },
    ),
    (
        "Node",
        {**named("n"), "spec": {"taints": [{"key": "a", "effect": "Never"}]}},
        {
            "metadata.taints[0].effect": 'Unsupported value: "Never": supported values: '
            '"NoSchedule", "PreferNoSchedule", "NoExecute"'
        },
    ),
    (
        "Node",
        {**named("n"), "spec": {"taints": [{"key": "a"}]}},
        {"metadata.taints[0].effect": "Required value"},
    ),
    (
        "DaemonSet",
        workload(selector={"matchLabels": {"app": "other"}}),
        {"spec.template.metadata.labels": f'Invalid value: {{"app":"w"}}: {SELECTOR}'},
    ),
    (
        "Deployment",
        workload(selector=None),
        {
            "spec.selector": "Required value",
            "spec.template.metadata.labels": f'Invalid value: {{"app":"w"}}: {SELECTOR}',
        },
    ),
    (
        "DaemonSet",
        workload(selector={}),
        {"spec.selector": "Invalid value: {}: empty selector is invalid for daemonset"},
    ),
    (
        "Deployment",
        workload(replicas=-1),
        {"spec.replicas": "Invalid value: -1: must be greater than or equal to 0"},
    ),
    (
        "Job",
        {**named("j"), "spec": {"template": {"spec": {"containers": [container()]}}}},
        {"spec.template.spec.restartPolicy": 'Required value: valid values: "OnFailure", "Never"'},
    ),
    (
        "PodDisruptionBudget",
        {**named("b"), "spec": {"minAvailable": "120%", "selector": {}}},
        {"spec.minAvailable": 'Invalid value: "120%": must not be greater than 100%'},
    ),
    (
        "PodDisruptionBudget",
        {**named("b"), "spec": {"minAvailable": -1}},
        {"spec.minAvailable": "Invalid value: -1: must be greater than or equal to 0"},
    ),
    (
        "Lease",
        {**named("l"), "spec": {"leaseDurationSeconds": 0}},
        {"spec.leaseDurationSeconds": "Invalid value: 0: must be greater than 0"},
    ),
    ("RuntimeClass", named("r"), {"handler": f'Invalid value: "": {LABEL}'}),
    (
        "ClusterRole",
        role(verbs=["get"], resources=["pods"]),
        {"rules[0].apiGroups": "Required value: resource rules must supply at least one api group"},
    ),
    (
        "Role",
        role(apiGroups=[""], resources=["pods"]),
        {"rules[0].verbs": "Required value: verbs must contain at least one value"},
    ),
    (
        "ClusterRoleBinding",
        binding({**ROLE, "kind": "Role"}),
        {"roleRef.kind": 'Unsupported value: "Role": supported values: "ClusterRole"'},
    ),
    (
        "ClusterRoleBinding",
        binding(ROLE, {"kind": "ServiceAccount", "name": "a"}),
        {"subjects[0].namespace": "Required value"},
    ),
    (
        "Event",
        {**named("e"), "involvedObject": {"namespace": "other"}},
        {"involvedObject.namespace": 'Invalid value: "other": does not match event.namespace'},
    ),
    (
        "ResourceClaim",
        {**named("c"), "spec": {"devices": {"requests": [{"name": "gpu"}]}}},
        {
            "spec.devices.requests[0]": "Required value: exactly one of `exactly` or "
            "`firstAvailable` is required"
        },
    ),
    (
        "ConfigMap",
        named("m", labels={"a": "b c"}, annotations={"bad key": ""}, finalizers=["/x"]),
        {
            "metadata.labels": 'Invalid value: "b c": a valid label must be an empty string',
            "metadata.annotations": 'Invalid value: "bad key": name part must consist of',
            "metadata.finalizers": 'Invalid value: "/x": prefix part must be non-empty',
        },
    ),
    (
        "ConfigMap",
        named("m", ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]),
        {"metadata.ownerReferences.uid": 'Invalid value: "": uid must not be empty'},
    ),
]


@pytest.mark.parametrize(("kind", "body", "causes"), CASES)
def test_what_cannot_be_created(kind: str, body: Json, causes: dict[str, str]) -> None:
    answer = ask(started(), "POST", path_of(kind), body)
    assert refused(answer)[:2] == (422, "Invalid")
    assert isinstance(answer.body, dict)
    details = answer.body["details"]
    assert (details["kind"], details["name"]) == (kind, body["metadata"]["name"])
    found = {cause["field"]: cause["message"] for cause in reversed(details["causes"])}
    assert set(found) == set(causes)
    for field, message in causes.items():
        assert found[field].startswith(message)
    for field, message in list(causes.items())[:1]:
        assert f"{field}: {message}" in answer.body["message"]


CHANGES: list[tuple[str, Json, Json, str, str]] = [
    ("Pod", pod(container()), {"spec": {"nodeName": "n"}}, "spec", "Forbidden: pod updates may"),
    (
        "Pod",
        pod(container()),
        {"spec": {"containers": [container(), container(name="d")]}},
        "spec.containers",
        "Forbidden: pod updates may not add or remove containers",
    ),
    (
        "Pod",
        pod(container(), tolerations=[{"key": "a", "operator": "Exists"}]),
        {"spec": {"tolerations": []}},
        "spec.tolerations",
        "Forbidden: existing toleration can not be modified",
    ),
    (
        "StatefulSet",
        workload(serviceName="a"),
        {"spec": {"serviceName": "b"}},
        "spec",
        "Forbidden: updates to statefulset spec for fields other than 'replicas'",
    ),
    (
        "ConfigMap",
        {**named("m"), "data": {"a": "1"}, "immutable": True},
        {"data": {"a": "2"}},
        "data",
        "Forbidden: field is immutable when `immutable` is set",
    ),
    (
        "ClusterRoleBinding",
        binding(ROLE),
        {"roleRef": {"name": "other"}},
        "roleRef",
        "Invalid value: ",
    ),
    (
        "ConfigMap",
        named("m"),
        {"metadata": {"uid": "another"}},
        "metadata.uid",
        'Invalid value: "another": field is immutable',
    ),
    (
        "ConfigMap",
        named("m"),
        {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}},
        "metadata.deletionTimestamp",
        'Invalid value: "2020-01-01T00:00:00Z": field is immutable',
    ),
]


@pytest.mark.parametrize(("kind", "body", "patch", "field", "message"), CHANGES)
def test_what_cannot_be_changed(
    kind: str, body: Json, patch: Json, field: str, message: str
) -> None:
    store = started()
    path = f"{path_of(kind)}/{body['metadata']['name']}"
    before = made(ask(store, "POST", path_of(kind), body))
    answer = ask(store, "PATCH", path, patch, MERGE)
    assert refused(answer)[:2] == (422, "Invalid")
    assert isinstance(answer.body, dict)
    [cause] = answer.body["details"]["causes"]
    assert cause["field"] == field and cause["message"].startswith(message)
    assert made(ask(store, "GET", path)) == before


def test_what_may_change_of_a_pod() -> None:
    store = started()
    made(ask(store, "POST", path_of("Pod"), pod(container())))
    image = {"spec": {"containers": [{"name": "c", "image": "y"}], "activeDeadlineSeconds": 5}}
    kind = "application/strategic-merge-patch+json"
    changed = made(ask(store, "PATCH", f"{path_of('Pod')}/p", image, kind))
    assert changed["spec"]["containers"][0]["image"] == "y"


def test_the_server_alone_sets_what_identifies_an_object() -> None:
    metadata = {"uid": "mine", "creationTimestamp": "2020-01-01T00:00:00Z", "generation": 7}
    made_by_server = made(
        ask(
            started(),
            "POST",
            path_of("Pod"),
            pod(container())
            | {"metadata": {"name": "p", **metadata}, "status": {"phase": "Running"}},
        )
    )
    for field, value in metadata.items():
        assert made_by_server["metadata"][field] != value
    assert made_by_server["status"]["phase"] == "Pending"


def test_when_an_object_was_created_is_not_a_clients_to_say() -> None:
    store, path = started(), f"{path_of('ConfigMap')}/m"
    before = made(ask(store, "POST", path_of("ConfigMap"), named("m")))
    patch = {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}
    assert made(ask(store, "PATCH", path, patch, MERGE)) == before


def test_an_object_that_is_being_deleted_gets_no_new_finalizers() -> None:
    store, path = started(), f"{path_of('ConfigMap')}/m"
    made(ask(store, "POST", path_of("ConfigMap"), named("m", finalizers=["a.example/b"])))
    made(ask(store, "DELETE", path))
    patch = {"metadata": {"finalizers": ["a.example/b", "a.example/c"]}}
    code, _, message = refused(ask(store, "PATCH", path, patch, MERGE))
    assert code == 422 and "no new finalizers can be added" in message
    made(ask(store, "PATCH", path, {"metadata": {"finalizers": None}}, MERGE))
    assert ask(store, "GET", path).code == 404, "it was kept only by its finalizer"


def test_status_is_changed_by_its_own_subresource_only() -> None:
    store, path = started(), f"{path_of('Pod')}/p"
    made(ask(store, "POST", path_of("Pod"), pod(container())))
    patch = {"status": {"phase": "Running"}, "metadata": {"labels": {"a": "b"}}}
    assert made(ask(store, "PATCH", path, patch, MERGE))["status"]["phase"] == "Pending"
    patch = {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}}
    found = made(ask(store, "PATCH", f"{path}/status", patch, MERGE))
    assert found["status"]["phase"] == "Running" and "nodeName" not in found["spec"]


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "the name of the object (m based on URL) was undeterminable: name must be provided"),
        ({"name": "x"}, "the name of the object (x) does not match the name on the URL (m)"),
        (
            {"name": "m", "namespace": "other"},
            "the namespace of the object (other) does not match the namespace on the request "
            "(default)",
        ),
    ],
)
def test_an_update_names_the_object_of_its_path(metadata: Json, why: str) -> None:
    store = started()
    made(ask(store, "POST", path_of("ConfigMap"), named("m")))
    answer = ask(store, "PUT", f"{path_of('ConfigMap')}/m", {"metadata": metadata})
    assert refused(answer) == (400, "BadRequest", why)


def test_an_update_meant_for_an_object_that_was_replaced_conflicts() -> None:
    store = started()
    made(ask(store, "POST", path_of("ConfigMap"), named("m")))
    answer = ask(store, "PUT", f"{path_of('ConfigMap')}/m", named("m", uid="older"))
    code, reason, message = refused(answer)
    assert (code, reason) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: older" in message


def test_a_priority_class_has_to_be_one_there_is() -> None:
    store = started()
    answer = ask(store, "POST", path_of("Pod"), pod(container(), priorityClassName="urgent"))
    assert refused(answer) == (
        403,
        "Forbidden",
        'pods "p" is forbidden: no PriorityClass with name urgent was found',
    )
    body = pod(container(), priorityClassName="system-node-critical")
    assert made(ask(store, "POST", path_of("Pod"), body))["spec"]["priority"] == 2_000_001_000


def test_scale_changes_the_replicas_and_nothing_else() -> None:
    store, path = started(), f"{path_of('Deployment')}/w"
    made(ask(store, "POST", path_of("Deployment"), workload(replicas=2)))
    scale = made(ask(store, "GET", f"{path}/scale"))
    assert scale["spec"] == {"replicas": 2} and scale["status"]["selector"] == "app=w"
    made(ask(store, "PATCH", f"{path}/scale", {"spec": {"replicas": 5}}, MERGE))
    assert made(ask(store, "GET", path))["spec"]["replicas"] == 5
    made(ask(store, "PUT", f"{path}/scale", {**scale, "metadata": named("w")["metadata"]}))
    assert made(ask(store, "GET", path))["spec"]["replicas"] == 2
    answer = refused(ask(store, "PUT", f"{path}/scale", scale))
    assert answer[0] == 409, "its resourceVersion is that of before"
    answer = refused(ask(store, "PATCH", f"{path}/scale", {"spec": {"replicas": -1}}, MERGE))
    assert answer[2] == (
        'Scale.autoscaling "w" is invalid: spec.replicas: Invalid value: -1: must be greater than '
        "or equal to 0"
    )
