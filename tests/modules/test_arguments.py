"""Mistakes in arguments are refused with words that help."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from runner.modules.assertion import Assert, AssertArguments, check
from runner.modules.base import Context, Refused
from runner.modules.debug import Debug, DebugArguments
from runner.modules.registry import MODULES, load_module


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_pattern_has_examples_that_match_it(name: str) -> None:
    for field, info in load_module(name).arguments.model_fields.items():
        for pattern in (part.pattern for part in info.metadata if getattr(part, "pattern", None)):
            assert info.examples, field
            assert all(re.search(pattern, example) for example in info.examples), field


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("service", {"name": "containerd"}, "give at least one of state, enabled"),
        ("service", {"name": "--now", "state": "started"}, "'--now' is not a unit name"),
        ("service", {"name": "a b", "state": "started"}, "should match pattern"),
        ("service", {"name": "a", "state": "running"}, "'started', 'stopped', 'restarted'"),
        ("service", {"name": "a", "enabled": "yes"}, "valid boolean"),
        ("service", {"name": "a", "masked": True, "enabled": True}, "neither enabled nor"),
        ("node_label", {"labels": {}}, "at least 1 item"),
        ("node_label", {"labels": {"a": True}}, 'a label is text, write "true" in quotes'),
        ("node_label", {"labels": {"a/b/c": "x"}}, "not a label name"),
        ("node_label", {"labels": {"a": "x y"}}, "not a label value"),
        ("kubernetes_object", {"definition": {"kind": "X"}}, "apiVersion is needed"),
        (
            "kubernetes_object",
            {"definition": {"apiVersion": "v1", "kind": "X", "metadata": {}}},
            "metadata.name is needed",
        ),
        (
            "kubernetes_object",
            {"definition": {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}}},
            "use node_label or node_taint",
        ),
        (
            "kubernetes_object",
            {
                "definition": {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "x"},
                    "data": {"n": 4},
                }
            },
            "data.n: text is needed",
        ),
        ("node_taint", {"key": "a"}, "effect is needed"),
        ("node_taint", {"key": "a b", "effect": "NoSchedule"}, "not a label name"),
        ("node_taint", {"key": "a", "value": "x y", "effect": "NoSchedule"}, "not a label value"),
        ("node_taint", {"key": "a", "value": "x", "state": "absent"}, "leave value out"),
        (
            "node_taint",
            {"key": "node.kubernetes.io/unschedulable", "state": "absent"},
            "the control plane sets",
        ),
        ("wait_allocatable", {"resource": "nvidia.com/gpu"}, "give either value or per_gpu"),
        ("debug", {}, "give either msg or var"),
        ("debug", {"var": "a if b else c"}, "is not a variable"),
    ],
)
def test_mistakes_are_named(module: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        load_module(module).arguments.model_validate(arguments)
    assert message in str(raised.value)


def test_assert_names_every_condition_that_does_not_hold() -> None:
    check([("a", True), ("b", True)])
    with pytest.raises(Refused, match=r"^does not hold: b; c$"):
        check([("a", True), ("b", False), ("c", False)])
    with pytest.raises(Refused, match=r"^too hot$"):
        check([("b", False)], "too hot")


def test_assert_takes_one_condition_and_both_names_of_its_message() -> None:
    args = AssertArguments.model_validate({"that": "a == b", "fail_msg": "no"})
    assert (args.that, args.message) == (("a == b",), "no")
    assert AssertArguments.model_validate({"that": False}).that == ("false",)
    assert Assert.changes_nothing


def test_debug_shows_a_variable_through_the_tasks_templates() -> None:
    asked = []

    def template(text: str, name: str) -> str:
        asked.append(text)
        return '{"release": "it\\u0027s"}'

    args = DebugArguments.model_validate({"var": "facts.kernel"})
    outcome = Debug().plan(args, {}, Context("gpu1", template=template))
    assert asked == ["{{ facts.kernel | tojson }}"]
    assert outcome.messages == ("facts.kernel = {", '  "release": "it\'s"', "}")
