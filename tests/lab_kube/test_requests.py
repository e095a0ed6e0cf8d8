"""Requests that a real server does not take, in the words of 1.20, or of 1.36 where recorded."""

from __future__ import annotations

import pytest

from runner.lab.kube.kinds import Json
from tests.lab_kube.asking import APPLY, MERGE, STRATEGIC, ask, made, refused, started

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
JSON_PATCH = "application/json-patch+json"
FIRST = "invalid character 'x' looking for beginning of value"


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "code", "message"),
    [
        (
            "POST",
            MAPS,
            "x",
            "",
            400,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get "
            f"version/kind; json parse error: {FIRST} (78)",
        ),
        ("PATCH", f"{MAPS}/m", "x", JSON_PATCH, 400, FIRST),
        ("PATCH", f"{MAPS}/m", '{"a" 1}', STRATEGIC, 400, "invalid character '1' after object key"),
        ("PATCH", f"{MAPS}/m", "[", STRATEGIC, 400, "unexpected end of JSON input"),
        (
            "PATCH",
            f"{MAPS}/m",
            "{}",
            JSON_PATCH,
            400,
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ),
        (
            "PATCH",
            f"{MAPS}/m?force=true",
            "{}",
            MERGE,
            422,
            'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for '
            "non-apply patch",
        ),
        (
            "PATCH",
            f"{MAPS}/m?fieldManager=me",
            '{"kind": "ConfigMap"}',
            APPLY,
            400,
            "Incorrect version specified in apply patch. Specified patch version: , expected: v1",
        ),
        (
            "POST",
            f"{MAPS}?dryRun=some",
            '{"metadata":{"name":"n"}}',
            "",
            422,
            'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["some"]: '
            'supported values: "All"',
        ),
        (
            "POST",
            MAPS,
            '{"metadata":{"name":"n","resourceVersion":"5"}}',
            "",
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            "DELETE",
            f"{MAPS}/m?propagationPolicy=Never",
            "",
            "",
            422,
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
            '"Never": supported values: "Foreground", "Background", "Orphan", "nil"',
        ),
        (
            "DELETE",
            f"{MAPS}/m?gracePeriodSeconds=x",
            "",
            "",
            400,
            'strconv.ParseInt: parsing "x": invalid syntax',
        ),
        ("GET", f"{MAPS}?limit=x", "", "", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            "GET",
            f"{MAPS}?fieldSelector=data.x=1",
            "",
            "",
            400,
            '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (
            "DELETE",
            "/api/v1/namespaces/default",
            "",
            "",
            403,
            'namespaces "default" is forbidden: this namespace may not be deleted',
        ),
    ],
)
def test_what_is_refused(
    method: str, path: str, content: str, kind: str, code: int, message: str
) -> None:
    store = started()
    before: Json = made(ask(store, "POST", MAPS, {"metadata": {"name": "m"}}))
    place, _, parameter = path.partition("?")
    query = dict([parameter.split("=", 1)]) if parameter else {}
    answer = refused(ask(store, method, place, content, kind, **query))
    assert (answer[0], answer[2]) == (code, message)
    assert made(ask(store, "GET", f"{MAPS}/m")) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", MAPS), ("PATCH", MAPS), ("POST", f"{MAPS}/m"), ("POST", "/api/v1/configmaps")],
)
def test_a_verb_that_its_path_does_not_have(method: str, path: str) -> None:
    answer = refused(ask(started(), method, path, {"metadata": {"name": "m"}}, MERGE))
    assert answer[:2] == (405, "MethodNotAllowed")


def test_nothing_is_no_object() -> None:
    assert refused(ask(started(), "POST", MAPS))[0] == 415


def test_a_pod_is_bound_once() -> None:
    store = started()
    made(ask(store, "POST", PODS, POD))
    path, target = f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n"}}
    assert refused(ask(store, "POST", path, {"target": {}}))[0] == 422
    assert ask(store, "POST", path, target).code == 201
    code, reason, message = refused(ask(store, "POST", path, target))
    assert (code, reason) == (409, "Conflict")
    assert message.endswith('pod p is already assigned to node "n"')
