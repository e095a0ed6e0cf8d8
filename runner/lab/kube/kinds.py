"""The resources the lab's API serves, as data for discovery, routing and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    in_all: bool = False
    """Whether `kubectl get all` shows it."""
    generation: bool = False
    """Whether metadata.generation counts changes of its spec."""
    unconditional_update: bool = True
    """Whether an update may leave out resourceVersion."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As messages name the resource: `nodes`, `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """As validation messages name the kind: `Node`, `DaemonSet.apps`."""
        return f"{self.name}.{self.group}" if self.group else self.name


_RBAC = "rbac.authorization.k8s.io"

KINDS = (
    Kind("Node", "nodes", namespaced=False, short_names=("no",), subresources=("status",)),
    Kind(
        "Pod",
        "pods",
        short_names=("po",),
        subresources=("binding", "eviction", "log", "status"),
        in_all=True,
        generation=True,
    ),
    Kind(
        "Namespace", "namespaces", namespaced=False, short_names=("ns",), subresources=("status",)
    ),
    Kind("ConfigMap", "configmaps", short_names=("cm",)),
    Kind("Secret", "secrets"),
    Kind("Event", "events", short_names=("ev",)),
    Kind("ServiceAccount", "serviceaccounts", short_names=("sa",), subresources=("token",)),
    Kind(
        "DaemonSet",
        "daemonsets",
        "apps",
        short_names=("ds",),
        subresources=("status",),
        in_all=True,
        generation=True,
    ),
    Kind(
        "Deployment",
        "deployments",
        "apps",
        short_names=("deploy",),
        subresources=("scale", "status"),
        in_all=True,
        generation=True,
    ),
    Kind(
        "ReplicaSet",
        "replicasets",
        "apps",
        short_names=("rs",),
        subresources=("scale", "status"),
        in_all=True,
        generation=True,
    ),
    Kind(
        "StatefulSet",
        "statefulsets",
        "apps",
        short_names=("sts",),
        subresources=("scale", "status"),
        in_all=True,
        generation=True,
    ),
    Kind("Job", "jobs", "batch", subresources=("status",), in_all=True, generation=True),
    Kind(
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "policy",
        short_names=("pdb",),
        subresources=("status",),
        generation=True,
        unconditional_update=False,
    ),
    Kind("Lease", "leases", "coordination.k8s.io", unconditional_update=False),
    Kind("ResourceClaim", "resourceclaims", "resource.k8s.io", subresources=("status",)),
    Kind("RuntimeClass", "runtimeclasses", "node.k8s.io", namespaced=False),
    Kind("ClusterRole", "clusterroles", _RBAC, namespaced=False),
    Kind("ClusterRoleBinding", "clusterrolebindings", _RBAC, namespaced=False),
    Kind("Role", "roles", _RBAC),
    Kind("RoleBinding", "rolebindings", _RBAC),
)
KIND: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}

REVIEWS: Mapping[str, Mapping[str, str]] = {
    "authentication.k8s.io": {"selfsubjectreviews": "SelfSubjectReview"},
    "authorization.k8s.io": {
        "selfsubjectaccessreviews": "SelfSubjectAccessReview",
        "selfsubjectrulesreviews": "SelfSubjectRulesReview",
    },
}
"""By group: resources that are answered but never stored, and their kinds."""

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

VERSION: Json = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def groups() -> Sequence[str]:
    """API groups beside the core one."""
    return sorted({kind.group for kind in KINDS if kind.group} | set(REVIEWS))


def api_group(name: str) -> Json:
    """The APIGroup object of one group."""
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def resource_list(group: str) -> Json:
    """The APIResourceList of one group, as clients discover it."""
    resources: list[Json] = []
    for kind in (kind for kind in KINDS if kind.group == group):
        entry: Json = {
            "name": kind.plural,
            "singularName": kind.name.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": list(VERBS),
        }
        if kind.name == "Namespace":
            entry["verbs"].remove("deletecollection")
        if kind.in_all:
            entry["categories"] = ["all"]
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        resources.append(entry)
        resources.extend(_subresource(kind, name) for name in kind.subresources)
    resources += [
        {
            "name": plural,
            "singularName": name.lower(),
            "namespaced": False,
            "kind": name,
            "verbs": ["create"],
        }
        for plural, name in REVIEWS.get(group, {}).items()
    ]
    answer: Json = {"kind": "APIResourceList", "groupVersion": f"{group}/v1" if group else "v1"}
    if group:
        answer["apiVersion"] = "v1"
    return {**answer, "resources": resources}


def _subresource(kind: Kind, name: str) -> Json:
    entry: Json = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": ["get", "patch", "update"],
    }
    if name == "eviction":
        entry |= {"group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
    elif name == "binding":
        entry |= {"kind": "Binding", "verbs": ["create"]}
    elif name == "token":
        entry |= {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}
        entry |= {"verbs": ["create"]}
    elif name == "log":
        entry |= {"verbs": ["get"]}
    elif name == "scale":
        entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    return entry
