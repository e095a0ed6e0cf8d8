"""Whether a user may do something: role-based access control as Kubernetes has it (RBAC).

Rules only allow; a ClusterRoleBinding gives them everywhere, a RoleBinding in its own namespace.
Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runner.lab.kube.failures import forbidden_user
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.requests import READS, Request, Target, User
from runner.lab.kube.store import Store

ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Access:
    """One thing to be allowed. `resource` as rules name it: `pods`, `pods/eviction`."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def allowed(store: Store, user: User, access: Access) -> bool:
    """Whether the user may do this."""
    if not user.bound:
        return user.writes or access.verb in READS
    return any(_covers(rule, access) for rule in _granted(store, user, access.namespace))


def rules_of(store: Store, user: User, namespace: str) -> list[Json]:
    """All a user may do in a namespace, as rules."""
    if user.bound:
        return list(_granted(store, user, namespace))
    verbs = ["*"] if user.writes else sorted(READS)
    return [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]}]


def _granted(store: Store, user: User, namespace: str) -> Iterator[Json]:
    """The rules that are bound to a user, for objects of one namespace ("": of the cluster)."""
    for binding in store.list(KIND["ClusterRoleBinding"]):
        if _binds(binding, user):
            yield from _of_role(store, binding["roleRef"], "")
    for binding in store.list(KIND["RoleBinding"], namespace) if namespace else ():
        if _binds(binding, user):
            yield from _of_role(store, binding["roleRef"], namespace)


def _of_role(store: Store, reference: Json, namespace: str) -> list[Json]:
    kind = KIND[reference["kind"]]
    role = store.get(kind, namespace if kind.namespaced else "", reference["name"])
    return list((role or {}).get("rules") or ())


def _binds(binding: Json, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        name = subject["name"]
        if subject["kind"] == "ServiceAccount":
            namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
            name = f"{ACCOUNT}{namespace}:{name}"
        if name == user.name and subject["kind"] in ("User", "ServiceAccount"):
            return True
        if subject["kind"] == "Group" and name in groups_of(user):
            return True
    return False


def groups_of(user: User) -> tuple[str, ...]:
    """The groups of every user who has said who it is."""
    if not user.name.startswith(ACCOUNT):
        return ("system:authenticated",)
    namespace = user.name.removeprefix(ACCOUNT).partition(":")[0]
    return ("system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def _covers(rule: Json, access: Access) -> bool:
    return (
        _lists(rule, "verbs", access.verb)
        and _lists(rule, "apiGroups", access.group)
        and _lists(rule, "resources", access.resource)
        and (not rule.get("resourceNames") or access.name in rule["resourceNames"])
    )


def _lists(rule: Json, key: str, value: str) -> bool:
    return bool({"*", value} & set(rule.get(key) or ()))


def authorize(store: Store, where: Target, request: Request, verb: str) -> None:
    """Raise 403 unless the asking user may do this."""
    kind = where.kind
    resource = "/".join(filter(None, (kind.plural, where.subresource)))
    if allowed(
        store, request.user, Access(verb, kind.group, resource, where.namespace, where.name)
    ):
        return
    raise forbidden_user(
        kind, where.name, request.user.name, verb, where.subresource, where.namespace
    )
