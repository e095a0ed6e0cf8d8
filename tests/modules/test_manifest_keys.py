"""Keys of manifests are texts, as in JSON: what YAML makes of others is not sent."""

from __future__ import annotations

import pytest

from runner.modules.kubernetes_manifests import check_manifest


def manifest(selector: dict[object, str]) -> dict[str, object]:
    template = {"spec": {"containers": [{"name": "c"}], "nodeSelector": selector}}
    spec = {"template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}


def test_texts_are_taken() -> None:
    check_manifest(manifest({"gpu": "yes"}))


@pytest.mark.parametrize("key", [False, 1, None])
def test_another_key_is_named_with_its_place(key: object) -> None:
    with pytest.raises(ValueError, match=rf"spec.template.spec.nodeSelector has the key {key!r}"):
        check_manifest(manifest({key: "yes"}))


def test_one_within_a_list_too() -> None:
    item = manifest({})
    item["spec"] = {"rules": [{"a": "b"}, {True: "b"}]}
    with pytest.raises(ValueError, match=r"spec.rules\[1\] has the key True"):
        check_manifest(item)
