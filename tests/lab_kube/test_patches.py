"""JSON patch, merge patch and strategic merge patch on plain objects."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab.kube.failures import ApiFailure
from runner.lab.kube.patches import json_patch, merge, strategic
from runner.lab.kube.selectors import label_selector

A, B = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        pytest.param({"x": {"y": 1}}, {"x": {"z": 2}}, {"x": {"y": 1, "z": 2}}, id="maps join"),
        pytest.param({"x": 1, "y": 2}, {"x": None}, {"y": 2}, id="null removes"),
        pytest.param(
            {"containers": [A, B]},
            {"containers": [{"name": "b", "image": "2"}]},
            {"containers": [A, {"name": "b", "image": "2"}]},
            id="containers join by name",
        ),
        pytest.param(
            {"containers": [A, B]},
            {"containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": [B]},
            id="an element is deleted",
        ),
        pytest.param(
            {"containers": [A]},
            {"containers": [B, {"$patch": "replace"}]},
            {"containers": [B]},
            id="a list is replaced on demand",
        ),
        pytest.param(
            {"taints": [{"key": "a", "effect": "NoSchedule"}]},
            {"taints": [{"key": "b", "effect": "NoSchedule"}]},
            {"taints": [{"key": "b", "effect": "NoSchedule"}]},
            id="taints are replaced whole",
        ),
        pytest.param(
            {"finalizers": ["a"]}, {"finalizers": ["b"]}, {"finalizers": ["a", "b"]}, id="sets join"
        ),
        pytest.param(
            {"finalizers": ["a", "b"]},
            {"$deleteFromPrimitiveList/finalizers": ["a"]},
            {"finalizers": ["b"]},
            id="a plain value is deleted",
        ),
        pytest.param(
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
            id="only some keys are retained",
        ),
        pytest.param(
            {"x": {"a": 1}}, {"x": {"$patch": "replace", "b": 2}}, {"x": {"b": 2}}, id="m"
        ),
    ],
)
def test_strategic(target: Any, patch: Any, result: Any) -> None:
    assert strategic(target, patch) == result


def test_merge_replaces_lists() -> None:
    assert merge({"l": [1, 2], "m": {"a": 1}}, {"l": [3], "m": {"a": None}}) == {"l": [3], "m": {}}


def test_json_patch() -> None:
    operations = [
        {"op": "test", "path": "/a", "value": [1]},
        {"op": "add", "path": "/a/-", "value": 2},
        {"op": "add", "path": "/a/0", "value": 0},
        {"op": "replace", "path": "/b~1c", "value": "new"},
        {"op": "move", "from": "/d", "path": "/e"},
        {"op": "copy", "from": "/e", "path": "/f"},
        {"op": "remove", "path": "/e"},
    ]
    target = {"a": [1], "b/c": "old", "d": {}}
    assert json_patch(target, operations) == {"a": [0, 1, 2], "b/c": "new", "f": {}}
    assert target == {"a": [1], "b/c": "old", "d": {}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/missing"},
        {"op": "add", "path": "/missing/x", "value": 1},
        {"op": "unknown", "path": "/a"},
        {"path": "/a"},
        {"op": "remove", "path": "a"},
    ],
)
def test_a_json_patch_that_does_not_fit_is_rejected(operation: Any) -> None:
    with pytest.raises(ApiFailure) as refused:
        json_patch({"a": 1}, [operation])
    assert refused.value.code == 422


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("gpu", True),
        ("!gpu", False),
        ("gpu=yes,!cpu", True),
        ("gpu==no", False),
        ("gpu!=no", True),
        ("gpu in (yes, no),zone notin (a)", True),
        ("gpu notin (yes)", False),
        ("nvidia.com/gpu.present=true", True),
    ],
)
def test_label_selectors(selector: str, selected: bool) -> None:
    labels = {"gpu": "yes", "nvidia.com/gpu.present": "true"}
    assert label_selector(selector)(labels) == selected
