"""PodDisruptionBudgets: which pods they guard, and whether one can ever let a pod go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.kube.parse import Json, Pod, understood


@dataclass(frozen=True, slots=True)
class Budget:
    """One policy/v1 PodDisruptionBudget, as its controller last saw it."""

    namespace: str
    name: str
    selector: Json | None
    min_available: str
    """As written, "" when absent: a number or a percentage."""
    max_unavailable: str
    allowed: int
    healthy: int
    desired: int
    expected: int

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    def guards(self, pod: Pod) -> bool:
        """Whether it counts this pod. No selector: none; an empty one: all of the namespace."""
        return (
            pod.state.namespace == self.namespace
            and self.selector is not None
            and matches(self.selector, pod.labels)
        )

    def never(self) -> str:
        """Why it can never allow an eviction however long one waits; "" when it may."""
        if self.max_unavailable in ("0", "0%"):
            return f"maxUnavailable is {self.max_unavailable}"
        if self.expected > 0 and self.desired >= self.expected:
            wanted = f"minAvailable {self.min_available}" if self.min_available else "it"
            return f"{wanted} needs {self.desired} healthy pods of the {self.expected} there are"
        return ""


def parse_budget(item: Json) -> Budget:
    """A policy/v1 PodDisruptionBudget. Raises ClusterError when it is not one."""
    return understood(_budget, item, "PodDisruptionBudget")


def _budget(item: Json) -> Budget:
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    return Budget(
        namespace=str(meta["namespace"]),
        name=str(meta["name"]),
        selector=spec.get("selector"),
        min_available=_text(spec, "minAvailable"),
        max_unavailable=_text(spec, "maxUnavailable"),
        allowed=int(status.get("disruptionsAllowed") or 0),
        healthy=int(status.get("currentHealthy") or 0),
        desired=int(status.get("desiredHealthy") or 0),
        expected=int(status.get("expectedPods") or 0),
    )


def _text(spec: Json, name: str) -> str:
    value = spec.get(name)
    return "" if value is None else str(value)


def guarding(budgets: Iterable[Budget], pod: Pod) -> tuple[Budget, ...]:
    """The budgets that count the pod, by name."""
    return tuple(sorted((b for b in budgets if b.guards(pod)), key=lambda b: b.full_name))


def matches(selector: Json, labels: Mapping[str, str]) -> bool:
    """A LabelSelector against labels. Raises ValueError for an unknown operator."""
    wanted: Mapping[str, Any] = selector.get("matchLabels") or {}
    if not wanted.items() <= labels.items():
        return False
    rules = selector.get("matchExpressions") or ()
    return not rules or all(_expression(rule, labels) for rule in rules)


def _expression(rule: Json, labels: Mapping[str, str]) -> bool:
    key, values = rule["key"], rule.get("values") or []
    match rule["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise ValueError(f"unknown operator {other!r} in a label selector")
