"""JSON of the Kubernetes API to plain state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from runner.errors import ClusterError
from runner.kube.state import NodeState, PodState

Json = Mapping[str, Any]
T = TypeVar("T")

MIRROR = "kubernetes.io/config.mirror"
STATIC_UID = "kubernetes.io/config.hash"
"""Annotation of a mirror pod: the UID under which its kubelet runs it."""
FINISHED = frozenset({"Succeeded", "Failed"})
NETWORK = ("hostdev", "rdma", "sriov", "mlnx", "roce")
"""Beginnings of names in nvidia.com that the network operator's device plugins advertise."""
SUFFIXES = {
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod with all that decides whether and how it leaves its node."""

    state: PodState
    node: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    owner_uid: str = ""
    mirror: bool = False
    local_storage: bool = False
    """It has an emptyDir volume."""
    claims: tuple[str, ...] = ()
    """namespace/name of its resource claims (DRA); that of one not made yet ends with "/"."""
    grace: int = 30
    """Its own grace period in seconds."""
    deleted_at: str = ""
    """RFC 3339: when a pod that is being deleted should be gone, its grace period over."""
    finalizers: tuple[str, ...] = ()
    static_uid: str = ""
    """Of a mirror pod: the UID of the static pod, which control groups show."""
    tolerations: tuple[Json, ...] = ()

    @property
    def finished(self) -> bool:
        return self.state.phase in FINISHED

    def overdue(self, now: datetime) -> float:
        """Seconds for which it should have been gone; 0 where it is not being deleted."""
        try:
            return max(0.0, (now - datetime.fromisoformat(self.deleted_at)).total_seconds())
        except (ValueError, TypeError):
            return 0.0

    @property
    def asks_for_gpu(self) -> bool:
        """It asks for a GPU by the name of a resource."""
        return bool(self.state.gpu_requests)


def understood(parse: Callable[[Json], T], item: Json, what: str) -> T:
    """`parse(item)`, with anything it trips over as a ClusterError."""
    try:
        return parse(item)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ClusterError(
            f"the API server's answer for a {what} cannot be understood:"
            f" {type(error).__name__}: {error}",
            "is this a Kubernetes API server of version 1.25 or later?",
        ) from error


def parse_pod(item: Json) -> Pod:
    """A v1 Pod. Raises ClusterError when it is not one."""
    return understood(_pod, item, "pod")


def _pod(item: Json) -> Pod:
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    owners = [ref for ref in meta.get("ownerReferences") or [] if ref.get("controller")]
    owner: Json = owners[0] if owners else {}
    state = PodState(
        namespace=str(meta["namespace"]),
        name=str(meta["name"]),
        uid=str(meta["uid"]),
        phase=str(status.get("phase") or ""),
        owner_kind=str(owner.get("kind", "")),
        owner_name=str(owner.get("name", "")),
        created=str(meta.get("creationTimestamp") or ""),
        ready=_condition(status, "Ready"),
        deleting="deletionTimestamp" in meta,
        gpu_requests=gpu_requests(spec),
    )
    return Pod(
        state=state,
        node=str(spec.get("nodeName") or ""),
        labels=dict(meta.get("labels") or {}),
        owner_uid=str(owner.get("uid", "")),
        mirror=MIRROR in (meta.get("annotations") or {}),
        local_storage=any("emptyDir" in volume for volume in spec.get("volumes") or []),
        claims=_claims(meta, spec, status),
        grace=_grace(meta, spec),
        deleted_at=str(meta.get("deletionTimestamp") or ""),
        finalizers=tuple(map(str, meta.get("finalizers") or ())),
        static_uid=str((meta.get("annotations") or {}).get(STATIC_UID, "")),
        tolerations=tuple(spec.get("tolerations") or ()),
    )


def _claims(meta: Json, spec: Json, status: Json) -> tuple[str, ...]:
    made = {
        str(entry["name"]): str(entry.get("resourceClaimName") or "")
        for entry in status.get("resourceClaimStatuses") or []
    }
    names = (
        str(claim.get("resourceClaimName") or made.get(claim["name"], ""))
        for claim in spec.get("resourceClaims") or []
    )
    return tuple(f"{meta['namespace']}/{name}" for name in names)


def _grace(meta: Json, spec: Json) -> int:
    wanted = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    return 30 if wanted is None else int(wanted)


def _condition(status: Json, kind: str) -> bool:
    conditions = status.get("conditions") or []
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def is_gpu_resource(name: str) -> bool:
    """Whether an extended resource is a GPU or a part of one.

    NVIDIA's plugin advertises nvidia.com/gpu, nvidia.com/gpu.shared, nvidia.com/mig-<profile>, and
    what `rename` in its configuration says, always in this domain (NewResourceName in its
    api/config/v1/resources.go). Network cards are offered in it too. Other vendors' names hold
    "gpu" as well.
    """
    domain, slash, rest = name.lower().rpartition("/")
    if domain == "nvidia.com" and not rest.startswith(NETWORK):
        return True
    own = domain.endswith("kubernetes.io") or domain.startswith("requests.")
    return bool(slash) and not own and ("gpu" in rest or "mig-" in rest)


def gpu_requests(spec: Json) -> dict[str, int]:
    """GPU resources a pod spec asks for: the sum of what runs at once, or the largest init step."""
    running: dict[str, int] = {}
    largest: dict[str, int] = {}
    for container in spec.get("containers") or []:
        _add(running, _container(container))
    for container in spec.get("initContainers") or []:
        asked = _container(container)
        if container.get("restartPolicy") == "Always":  # a sidecar stays beside the others
            _add(running, asked)
        else:
            largest |= {name: max(n, largest.get(name, 0)) for name, n in asked.items()}
    names = sorted({*running, *largest})
    return {name: max(running.get(name, 0), largest.get(name, 0)) for name in names}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        total[name] = total.get(name, 0) + number


def _container(container: Json) -> dict[str, int]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    numbers = {name: quantity(value) for name, value in asked.items() if is_gpu_resource(name)}
    return {name: number for name, number in numbers.items() if number}


def quantity(value: object) -> int:
    """A whole Kubernetes quantity ("8", "2k", "1e3"). Raises ValueError for anything else."""
    text = str(value).strip()
    suffix = next((s for s in ("Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T") if text.endswith(s)), "")
    try:
        number = Decimal(text.removesuffix(suffix)) * SUFFIXES.get(suffix, 1)
    except ArithmeticError:
        raise ValueError(f"not a quantity: {text!r}") from None
    if not number.is_finite() or abs(number) >= 2**63 or number != int(number):
        raise ValueError(f"not a whole number: {text!r}")
    return int(number)


def parse_node(item: Json, pods: Iterable[PodState] = ()) -> NodeState:
    """A v1 Node and the pods bound to it. Raises ClusterError when it is not one."""
    node = understood(_node, item, "node")
    return replace(node, pods=tuple(sorted(pods, key=lambda pod: pod.full_name)))


def _node(item: Json) -> NodeState:
    meta, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    by, at = _cordon(meta) if spec.get("unschedulable") else ("", "")
    return NodeState(
        name=str(meta["name"]),
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        taints=tuple(_taint(taint) for taint in spec.get("taints") or []),
        unschedulable=bool(spec.get("unschedulable")),
        cordoned_by=by,
        cordoned_at=at,
        ready=_condition(status, "Ready"),
        capacity=dict(status.get("capacity") or {}),
        allocatable=dict(status.get("allocatable") or {}),
        kubelet_version=str((status.get("nodeInfo") or {}).get("kubeletVersion") or ""),
    )


def _cordon(meta: Json) -> tuple[str, str]:
    """Who last set spec.unschedulable and when, as the server recorded it."""
    for entry in meta.get("managedFields") or []:
        if "f:unschedulable" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            return str(entry.get("manager", "")), str(entry.get("time", ""))
    return "", ""


def _taint(taint: Json) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"
