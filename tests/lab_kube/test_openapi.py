"""The OpenAPI documents say of every kind what kubectl looks up in them."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab.kube.kinds import KINDS, Json
from tests.lab_kube.asking import ask, made, started

PLACE = {"group": "", "version": "v1", "kind": "Pod"}


def document(path: str) -> Json:
    return made(ask(started(), "GET", path))


def test_each_group_has_a_document() -> None:
    paths = document("/openapi/v3")["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/policy/v1"} <= set(paths)
    for entry in paths.values():
        assert document(entry["serverRelativeURL"])["openapi"] == "3.0.0"
    assert ask(started(), "GET", "/openapi/v3/apis/none/v1").code == 404


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_has_paths_and_a_schema_without_loose_ends(kind: Any) -> None:
    prefix = f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"
    found = document(f"/openapi/v3/{prefix}")
    about = {"group": kind.group, "version": kind.version, "kind": kind.name}
    patches = [
        methods["patch"]
        for methods in found["paths"].values()
        if "patch" in methods and methods["patch"]["x-kubernetes-group-version-kind"] == about
    ]
    assert "fieldValidation" in [option["name"] for option in patches[0]["parameters"]]
    schemas = found["components"]["schemas"]
    assert [about] in [schema.get("x-kubernetes-group-version-kind") for schema in schemas.values()]

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            here = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return here.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    assert references(schemas) <= {f"#/components/schemas/{name}" for name in schemas}


def test_it_says_how_lists_are_merged() -> None:
    schemas = document("/openapi/v3/api/v1")["components"]["schemas"]
    spec = schemas["io.k8s.api.core.v1.PodSpec"]
    assert spec["required"] == ["containers"]
    containers = spec["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert "x-kubernetes-patch-merge-key" not in spec["properties"]["tolerations"]
