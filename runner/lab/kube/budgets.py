"""PodDisruptionBudgets: their status, and which of them hold a pod."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runner.lab.kube import clock
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.selectors import object_selector
from runner.lab.kube.store import Store

_BUDGET = KIND["PodDisruptionBudget"]


def is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def budgets_of(store: Store, pod: Json) -> Sequence[Json]:
    """Budgets whose selector matches a pod."""
    metadata = pod["metadata"]
    return [
        budget
        for budget in store.list(_BUDGET, metadata["namespace"])
        if object_selector(budget["spec"].get("selector"))(metadata.get("labels") or {})
    ]


def refresh(store: Store, budget: Json) -> Json:
    """Bring the status of a budget up to date; returns the budget as stored."""
    status = _status(store, budget)
    if status == budget["status"]:
        return budget
    return store.put(_BUDGET, {**budget, "status": status})


def _status(store: Store, budget: Json) -> Json:
    matches = object_selector(budget["spec"].get("selector"))
    pods = [
        pod
        for pod in store.list(KIND["Pod"], budget["metadata"]["namespace"])
        if matches(pod["metadata"].get("labels") or {})
    ]
    healthy = sum(is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)
    expected, desired = _wanted(store, budget["spec"], pods)
    allowed = max(0, healthy - desired) if expected else 0
    generation = budget["metadata"].get("generation", 1)
    return {
        "observedGeneration": generation,
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": [_condition(budget, bool(allowed), generation)],
    }


def _wanted(store: Store, spec: Json, pods: Sequence[Json]) -> tuple[int, int]:
    """Expected and desired number of healthy pods, as the disruption controller counts them."""
    if isinstance(minimum := spec.get("minAvailable"), int):
        return len(pods), minimum
    expected = _scale(store, pods)
    if minimum is not None:
        return expected, _share(minimum, expected)
    return expected, max(0, expected - _share(spec.get("maxUnavailable", 0), expected))


def _share(value: int | str, total: int) -> int:
    return value if isinstance(value, int) else math.ceil(total * int(value.rstrip("%")) / 100)


def _scale(store: Store, pods: Sequence[Json]) -> int:
    """Replicas wanted by the distinct controllers of these pods; a bare pod counts as nothing."""
    controllers: dict[str, int] = {}
    for pod in pods:
        for owner in pod["metadata"].get("ownerReferences", ()):
            found = KIND.get(owner["kind"])
            item = found and store.get(found, pod["metadata"]["namespace"], owner["name"])
            if item:
                controllers[owner["uid"]] = item["spec"].get("replicas", 0)
    return sum(controllers.values())


def _condition(budget: Json, allowed: bool, generation: int) -> Json:
    condition: Json = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed else "False",
        "observedGeneration": generation,
        "lastTransitionTime": clock.now(),
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
    }
    for known in budget["status"].get("conditions", ()):
        if known["type"] == condition["type"] and known["status"] == condition["status"]:
            condition["lastTransitionTime"] = known["lastTransitionTime"]
    return condition
