"""The scheduler: where a pod may run, and where it is put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.lab.kube import clock
from runner.lab.kube.deletion import is_finished
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.nodes import NVIDIA, is_ready
from runner.lab.kube.store import Store

_POD, _NODE = KIND["Pod"], KIND["Node"]
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_UNREACHABLE = "node.kubernetes.io/unreachable"
DAEMON_TOLERATIONS = tuple(
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect}
    for name, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)
"""What the DaemonSet controller adds to its pods."""


def selects(spec: Json, node: Json) -> bool:
    """Whether a pod's nodeSelector allows the node."""
    labels = node["metadata"].get("labels") or {}
    wanted = spec.get("nodeSelector") or {}
    return all(labels.get(key) == value for key, value in wanted.items())


def tolerates(
    tolerations: Sequence[Json], node: Json, effects: Sequence[str] = ("NoSchedule", "NoExecute")
) -> bool:
    """Whether every taint of these effects is tolerated; a pod that runs suffers NoExecute only."""
    return all(
        any(_covers(toleration, taint) for toleration in tolerations)
        for taint in node["spec"].get("taints", ())
        if taint["effect"] in effects
    )


def _covers(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same = toleration.get("key") == taint["key"]
    return bool(same and toleration.get("value", "") == taint.get("value", ""))


def gpu_requests(spec: Json) -> Mapping[str, int]:
    """Extended NVIDIA resources a pod asks for, by name."""
    wanted: dict[str, int] = {}
    for container in spec.get("containers", ()):
        resources = container.get("resources") or {}
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        for name, count in asked.items():
            if name.startswith(NVIDIA):
                wanted[name] = wanted.get(name, 0) + int(count)
    return wanted


def free(node: Json, pods: Sequence[Json]) -> Mapping[str, int]:
    """What is left of a node's NVIDIA resources beside these pods."""
    allocatable = node["status"].get("allocatable") or {}
    left = {name: int(n) for name, n in allocatable.items() if name.startswith(NVIDIA)}
    for pod in pods:
        for name, count in gpu_requests(pod["spec"]).items():
            left[name] = left.get(name, 0) - count
    return left


def mark_nodes(store: Store) -> None:
    """The node controller's taints: cordoned and unreachable nodes carry one each."""
    with store.lock:
        for node in store.list(_NODE):
            taints = node["spec"].get("taints", [])
            wanted = {
                _UNSCHEDULABLE: bool(node["spec"].get("unschedulable")),
                _UNREACHABLE: _is_lost(node),
            }
            kept = [taint for taint in taints if wanted.get(taint["key"], True)]
            present = {taint["key"] for taint in kept}
            for key, needed in wanted.items():
                if needed and key not in present:
                    kept.append({"key": key, "effect": "NoSchedule", "timeAdded": clock.now()})
            if kept != taints:
                spec = {k: v for k, v in node["spec"].items() if k != "taints"}
                store.put(_NODE, {**node, "spec": spec | ({"taints": kept} if kept else {})})


def _is_lost(node: Json) -> bool:
    conditions = node["status"].get("conditions", ())
    return any(entry["type"] == "Ready" and entry["status"] != "True" for entry in conditions)


def schedule(store: Store) -> None:
    """Bind every pending pod that fits somewhere: most free GPUs first, then fewest pods."""
    with store.lock:
        pods = [pod for pod in store.list(_POD) if not is_finished(pod)]
        placed: dict[str, list[Json]] = {}
        for pod in pods:
            placed.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
        nodes = store.list(_NODE)
        for pod in placed.pop("", []):
            if "deletionTimestamp" in pod["metadata"]:
                continue
            fitting = [node for node in nodes if _fits(pod, node, placed)]
            if fitting:
                best = min(fitting, key=lambda node: _rank(node, placed))
                _bind(store, pod, best, placed)
            else:
                _report(store, pod, len(nodes))


def _fits(pod: Json, node: Json, placed: Mapping[str, list[Json]]) -> bool:
    spec = pod["spec"]
    here = placed.get(node["metadata"]["name"], [])
    left = free(node, here)
    return (
        is_ready(node)
        and selects(spec, node)
        and tolerates(spec.get("tolerations", ()), node)
        and len(here) < int(node["status"].get("allocatable", {}).get("pods", 110))
        and all(left.get(name, 0) >= count for name, count in gpu_requests(spec).items())
    )


def _rank(node: Json, placed: Mapping[str, list[Json]]) -> tuple[int, int, str]:
    name = node["metadata"]["name"]
    here = placed.get(name, [])
    return -sum(free(node, here).values()), len(here), name


def _bind(store: Store, pod: Json, node: Json, placed: dict[str, list[Json]]) -> None:
    name = node["metadata"]["name"]
    bound = {**pod, "spec": {**pod["spec"], "nodeName": name}}
    bound = with_condition(bound, "PodScheduled", True)
    placed.setdefault(name, []).append(store.put(_POD, bound))


def _report(store: Store, pod: Json, count: int) -> None:
    message = f"0/{count} nodes are available for this pod: none is ready, schedulable and has room"
    refused = with_condition(pod, "PodScheduled", False, "Unschedulable", message)
    if refused is not pod:
        store.put(_POD, refused)


def with_condition(pod: Json, type_: str, holds: bool, reason: str = "", message: str = "") -> Json:
    """The pod with this condition; the same pod when it has it already."""
    conditions = pod["status"].get("conditions", [])
    status = "True" if holds else "False"
    known = next((entry for entry in conditions if entry["type"] == type_), None)
    if known and (known["status"], known.get("reason", "")) == (status, reason):
        return pod
    entry = {
        "type": type_,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": clock.now(),
        **({"reason": reason} if reason else {}),
        **({"message": message} if message else {}),
    }
    others = [other for other in conditions if other["type"] != type_]
    return {**pod, "status": {**pod["status"], "conditions": [*others, entry]}}
