"""Disruption budgets: whom they guard and whether waiting can help; what refused evictions mean."""

from __future__ import annotations

from typing import Any

import pytest

from runner.kube.api import Api, RefusalError
from runner.kube.budgets import matches, parse_budget
from runner.kube.eviction import Kind, classify
from runner.kube.parse import parse_pod
from tests.kube.names import NS
from tests.kube.objects import pod, recorded, stored


def budget(spec: dict[str, Any], **status: int) -> dict[str, Any]:
    meta = {"name": "keep", "namespace": NS}
    return {"metadata": meta, "spec": spec, "status": status}


def test_a_budget_of_a_real_server() -> None:
    keep = parse_budget(recorded("pdb-status")[1])
    assert (keep.full_name, keep.min_available) == ("gpu-tests/keep-all", "3")
    assert (keep.allowed, keep.healthy, keep.desired, keep.expected) == (0, 3, 3, 4)
    assert keep.never() == "", "with the fourth pod healthy again it allows one"


@pytest.mark.parametrize(
    ("spec", "status", "why"),
    [
        ({"maxUnavailable": 0}, {"expectedPods": 3, "desiredHealthy": 3}, "maxUnavailable is 0"),
        ({"maxUnavailable": "0%"}, {}, "maxUnavailable is 0%"),
        (
            {"minAvailable": "100%"},
            {"expectedPods": 3, "desiredHealthy": 3},
            "minAvailable 100% needs 3 healthy pods of the 3 there are",
        ),
        (
            {"minAvailable": 5},
            {"expectedPods": 3, "desiredHealthy": 5},
            "minAvailable 5 needs 5 healthy pods of the 3 there are",
        ),
        ({"minAvailable": 2}, {"expectedPods": 3, "desiredHealthy": 2}, ""),
        ({"maxUnavailable": 1}, {"expectedPods": 3, "desiredHealthy": 2}, ""),
        ({"minAvailable": 1}, {}, ""),
    ],
)
def test_budgets_that_can_never_allow_an_eviction(
    spec: dict[str, Any], status: dict[str, int], why: str
) -> None:
    assert parse_budget(budget(spec, **status)).never() == why


@pytest.mark.parametrize(
    ("selector", "labels", "fits"),
    [
        ({}, {}, True),
        ({"matchLabels": {"app": "a"}}, {"app": "a", "x": "y"}, True),
        ({"matchLabels": {"app": "a"}}, {"app": "b"}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]}, {}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, {}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, {"app": ""}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, {"app": ""}, False),
    ],
)
def test_label_selectors(selector: dict[str, Any], labels: dict[str, str], fits: bool) -> None:
    assert matches(selector, labels) is fits


def test_a_budget_guards_pods_of_its_namespace_and_without_selector_none() -> None:
    here = parse_pod(stored(pod("a")))
    there = parse_pod(stored(pod("a", namespace="other")))
    everything = parse_budget(budget({"selector": {}}))
    assert everything.guards(here) and not everything.guards(there)
    assert not parse_budget(budget({})).guards(here)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("evict-missing-pod", Kind.GONE, "not found"),
        ("evict-wrong-uid", Kind.GONE, "UID"),
        ("evict-blocked-by-budget", Kind.WAIT, "keep-all needs 3 healthy pods and has 3"),
        ("evict-two-budgets", Kind.NEVER, "more than one PodDisruptionBudget"),
        ("forbidden-evict", Kind.NEVER, 'cannot create resource "pods/eviction"'),
        ("evict-in-terminating-namespace", Kind.WAIT, "is being terminated"),
    ],
)
def test_refused_evictions_of_a_real_server(name: str, kind: Kind, reason: str) -> None:
    answer = classify(refusal(name))
    assert answer.kind is kind
    assert reason in answer.reason


def test_retry_after_is_honoured_when_longer_than_five_seconds() -> None:
    error = refusal("evict-blocked-by-budget")
    assert classify(error).after == 5.0
    error.retry_after = 10.0
    assert classify(error).after == 10.0


def refusal(name: str) -> RefusalError:
    code, body = recorded(name)
    error = Api()._refusal("evict pod", code, body, None)
    assert isinstance(error, RefusalError)
    return error
