"""Misspelt, repeated and wrongly typed fields are treated as a real server treats them."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab.kube.kinds import KINDS, Json
from runner.lab.kube.schema import Keyed, Many, Shape, Struct, shape_of
from tests.lab_kube.asking import APPLY, MERGE, STRATEGIC, ask, made, refused, started

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def pod(**spec: Any) -> Json:
    containers = [{"name": "c", "image": "x"}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}


def deployment(**spec: Any) -> Json:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


MISSPELT = pod(
    nodeNme="gpu1", containers=[{"name": "c", "image": "x", "imagePullPolice": "Always"}]
)
UNKNOWN = ('unknown field "spec.containers[0].imagePullPolice"', 'unknown field "spec.nodeNme"')


def test_strict_refuses_and_names_every_field() -> None:
    store = started()
    code, reason, message = refused(ask(store, "POST", PODS, MISSPELT, fieldValidation="Strict"))
    assert (code, reason) == (400, "BadRequest")
    told = 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
    assert message == told + ", ".join(UNKNOWN)
    assert ask(store, "GET", f"{PODS}/p").code == 404


@pytest.mark.parametrize("query", [{}, {"fieldValidation": "Warn"}])
def test_by_default_they_are_dropped_and_told_as_warnings(query: dict[str, str]) -> None:
    answer = ask(started(), "POST", PODS, MISSPELT, **query)
    spec = made(answer)["spec"]
    assert "nodeNme" not in spec and "imagePullPolice" not in spec["containers"][0]
    assert answer.headers["Warning"] == (
        r'299 - "unknown field \"spec.containers[0].imagePullPolice\"", '
        r'299 - "unknown field \"spec.nodeNme\""'
    )


def test_ignore_drops_them_without_a_word() -> None:
    answer = ask(started(), "POST", PODS, MISSPELT, fieldValidation="Ignore")
    assert "nodeNme" not in made(answer)["spec"]
    assert "Warning" not in answer.headers


def test_another_way_to_validate_there_is_not() -> None:
    answer = refused(ask(started(), "POST", PODS, pod(), fieldValidation="Never"))
    assert answer == (
        422,
        "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Never": '
        'supported values: "", "Ignore", "Strict", "Warn"',
    )


def test_what_stands_twice_counts_once_and_is_told() -> None:
    text = '{"metadata":{"name":"m","labels":{"a":"1","a":"2"}},"data":{"k":"1","k":"2"}}'
    store = started()
    wanted = 'duplicate field "metadata.labels.a", duplicate field "data.k"'
    refusal = refused(ask(store, "POST", MAPS, text, fieldValidation="Strict"))
    assert refusal[2].endswith(f"strict decoding error: {wanted}")
    answer = ask(store, "POST", MAPS, text)
    assert made(answer)["data"] == {"k": "2"}
    assert r"duplicate field \"data.k\"" in answer.headers["Warning"]


def test_a_patch_is_judged_by_what_it_makes() -> None:
    store = started()
    made(ask(store, "POST", PODS, pod()))
    patch = {"spec": {"foo": 1}}
    strategic = ask(store, "PATCH", f"{PODS}/p", patch, STRATEGIC, fieldValidation="Strict")
    assert refused(strategic)[::2] == (
        422,
        ' "" is invalid: patch: Invalid value: "map[spec:map[foo:1]]": strict decoding error: '
        'unknown field "spec.foo"',
    )
    merged = refused(ask(store, "PATCH", f"{PODS}/p", patch, MERGE, fieldValidation="Strict"))
    assert merged[2].startswith(r' "" is invalid: patch: Invalid value: "{\"apiVersion\":\"v1\"')
    assert merged[2].endswith('strict decoding error: unknown field "spec.foo"')
    warned = ask(store, "PATCH", f"{PODS}/p", patch, MERGE)
    assert "foo" not in made(warned)["spec"] and "spec.foo" in warned.headers["Warning"]


WRONG_TYPES: list[tuple[str, Json, str]] = [
    (
        PODS,
        pod(hostNetwork="yes"),
        "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
    ),
    (
        PODS,
        pod(containers=[{"name": "c", "image": "x", "env": [{"name": "A", "value": 1}]}]),
        "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of "
        "type string",
    ),
    (
        PODS,
        pod(containers={}),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type "
        "[]v1.Container",
    ),
    (
        DEPLOYMENTS,
        deployment(replicas="2"),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type "
        "int32",
    ),
    (
        MAPS,
        {"metadata": {"name": "m"}, "data": {"a": True}},
        "json: cannot unmarshal bool into Go struct field ConfigMap.data of type string",
    ),
    (
        PODS,
        pod(containers=[{"name": "c", "image": "x", "resources": {"limits": {"cpu": "many"}}}]),
        "quantities must match the regular expression "
        "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
]


@pytest.mark.parametrize(("path", "body", "why"), WRONG_TYPES)
def test_a_wrong_type_is_no_object_of_that_kind(path: str, body: Json, why: str) -> None:
    code, reason, message = refused(ask(started(), "POST", path, body, fieldValidation="Ignore"))
    assert (code, reason) == (400, "BadRequest")
    assert message.endswith(f": {why}")


@pytest.mark.parametrize(
    ("given", "shown"),
    [("1024Mi", "1Gi"), ("0.5", "500m"), ("1000m", "1"), (8, "8"), ("1.5Gi", "1536Mi")],
)
def test_quantities_come_back_in_one_form(given: object, shown: str) -> None:
    resources = {"limits": {"memory": given}}
    body = pod(containers=[{"name": "c", "image": "x", "resources": resources}])
    found = made(ask(started(), "POST", PODS, body))["spec"]["containers"][0]["resources"]
    assert found["limits"] == {"memory": shown}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"foo": 1}, ".spec.foo: field not declared in schema"),
        ({"replicas": "2"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"paused": "no"}, ".spec.paused: expected boolean, got &{no}"),
        (
            {"template": {"spec": {"containers": [{"name": "c", "imag": "x"}]}}},
            '.spec.template.spec.containers[name="c"].imag: field not declared in schema',
        ),
        (
            {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}},
            '.spec.template.spec.containers: duplicate entries for key [name="c"]',
        ),
    ],
)
def test_server_side_apply_has_a_schema_of_its_own(change: Json, why: str) -> None:
    body = deployment(**change)
    answer = ask(
        started(),
        "PATCH",
        f"{DEPLOYMENTS}/web",
        body,
        APPLY,
        fieldManager="me",
        fieldValidation="Ignore",
    )
    what = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): "
    assert refused(answer) == (500, "", what + why)


def test_server_side_apply_reads_yaml_and_sees_what_is_set_twice() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  a: x\n  a: y\n"
    query = {"fieldManager": "me", "fieldValidation": "Strict"}
    code, _, message = refused(ask(started(), "PATCH", f"{MAPS}/m", text, APPLY, **query))
    assert code == 400
    assert message.startswith("error strict decoding YAML: ")
    assert message.endswith('line 6: key "a" already set in map')


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ({"kind": "Pod"}, "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        ({"kind": "Cat"}, 'no kind "Cat" is registered for version "v1" in scheme '),
    ],
)
def test_an_object_of_another_kind_is_refused(head: Json, why: str) -> None:
    body = {"apiVersion": "v1", "metadata": {"name": "m"}, **head}
    code, _, message = refused(ask(started(), "POST", MAPS, body))
    assert code == 400 and why in message


def test_evictions_and_delete_options_are_read_as_strictly() -> None:
    store = started()
    made(ask(store, "POST", PODS, pod()))
    eviction = {"metadata": {"name": "p"}, "deleteOption": {}}
    strict = {"fieldValidation": "Strict"}
    answer = refused(ask(store, "POST", f"{PODS}/p/eviction", eviction, **strict))
    assert 'unknown field "deleteOption"' in answer[2]
    answer = refused(ask(store, "DELETE", f"{PODS}/p", {"gracePeriodSeconds": "0"}))
    assert "DeleteOptions.gracePeriodSeconds of type int64" in answer[2]


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_the_fields_of_every_kind_are_known(kind: str) -> None:
    seen: set[Struct] = set()

    def walk(shape: Shape) -> None:
        if isinstance(shape, Many | Keyed):
            walk(shape.of)
        elif isinstance(shape, Struct) and shape not in seen:
            seen.add(shape)
            for below in shape.fields.values():
                walk(below)

    [known] = [entry for entry in KINDS if entry.name == kind]
    walk(shape_of(known))
    assert {"apiVersion", "kind", "metadata"} <= set(shape_of(known).fields)
    assert Struct("meta_v1", "ObjectMeta") in seen
