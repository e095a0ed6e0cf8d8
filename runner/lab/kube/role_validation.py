"""The checks of roles and their bindings (pkg/apis/rbac/validation of Kubernetes)."""

from __future__ import annotations

from collections.abc import Iterator

from runner.lab.kube.failures import unsupported
from runner.lab.kube.field_errors import named, one_of, required, wrong
from runner.lab.kube.kinds import Json
from runner.lab.kube.names import dns_subdomain, path_segment

_GROUP = "rbac.authorization.k8s.io"


def role(item: Json) -> Iterator[Json]:
    """Every mistake in a role's rules."""
    for index, rule in enumerate(item.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        urls = rule.get("nonResourceURLs")
        if urls:
            if item["kind"] == "Role":
                why = "namespaced rules cannot apply to non-resource URLs"
                yield wrong(f"{path}.nonResourceURLs", urls, why)
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                yield wrong(f"{path}.nonResourceURLs", urls, why)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def binding(item: Json) -> Iterator[Json]:
    """Every mistake in whom a binding gives which role."""
    reference = item.get("roleRef") or {}
    group = reference.get("apiGroup", "")
    if group != _GROUP:
        yield unsupported("roleRef.apiGroup", group, (_GROUP,))
    cluster = item["kind"] == "ClusterRoleBinding"
    kinds = ("ClusterRole",) if cluster else ("Role", "ClusterRole")
    if reference.get("kind") not in kinds:
        yield unsupported("roleRef.kind", reference.get("kind", ""), kinds)
    if not reference.get("name"):
        yield required("roleRef.name")
    else:
        yield from named("roleRef.name", reference["name"], path_segment)
    for index, subject in enumerate(item.get("subjects") or ()):
        yield from _subject(subject, cluster, f"subjects[{index}]")


def _subject(subject: Json, cluster: bool, path: str) -> Iterator[Json]:
    name, kind = subject.get("name", ""), subject.get("kind", "")
    if not name:
        yield required(f"{path}.name")
    if kind == "ServiceAccount":
        if name:
            yield from named(f"{path}.name", name, dns_subdomain)
        if subject.get("apiGroup"):
            yield unsupported(f"{path}.apiGroup", subject["apiGroup"], ("",))
        if cluster and not subject.get("namespace"):
            yield required(f"{path}.namespace")
    elif kind in ("User", "Group"):
        yield from one_of(f"{path}.apiGroup", subject.get("apiGroup"), (_GROUP,))
    else:
        yield unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))
