"""Nodes as `gpurun nodes` shows them: who holds them out of service, and what GPUs they offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from runner.facts.kubernetes import NO_CLUSTER
from runner.hosts.display import names
from runner.kube.leases import NodeLease
from runner.kube.maintenance import CORDON_REASON, CORDONED_AT, CORDONED_BY, RUN
from runner.kube.parse import FINISHED, is_gpu_resource, quantity
from runner.kube.state import NodeState
from runner.modules.base import Unknown
from runner.reports.columns import aligned

OURS = "gpurun.dev/"
COLUMNS = ("HOST", "NODE", "READY", "CORDONED", "LOCK", "GPUS USED/ALLOCATABLE", "MARKS")


def node_data(
    host: str,
    node: NodeState | Unknown | None,
    lease: NodeLease | Unknown | None,
    rollout: NodeLease | Unknown | None,
    now: datetime,
) -> dict[str, Any]:
    """One host as plain data; `unknown` says why nothing more can be told.

    Args:
        lease: the lock of its node; `rollout`: that of the rollout on its cluster.
        now: with a time zone; it tells which locks have run out.
    """
    if node is None:
        node = Unknown(NO_CLUSTER)
    if isinstance(node, Unknown):
        return {"host": host, "unknown": str(node)}
    try:
        gpus = _gpus(node)
    except ValueError as error:
        return {"host": host, "unknown": f"node {node.name}: allocatable GPUs: {error}"}
    return {
        "host": host,
        "node": node.name,
        "ready": node.ready,
        "cordoned": _cordon(node),
        "lock": _lock(lease, now),
        "rollout": _lock(rollout, now),
        "gpus": gpus,
        "annotations": {k: v for k, v in node.annotations.items() if k.startswith(OURS)},
    }


def _cordon(node: NodeState) -> dict[str, str] | None:
    """None: schedulable. `run` is empty where somebody else cordoned it."""
    if not node.unschedulable:
        return None
    run = node.annotations.get(CORDONED_BY, "")
    if run:
        return {"run": run, "by": "gpurun", "since": node.annotations.get(CORDONED_AT, "")}
    return {"run": "", "by": node.cordoned_by, "since": node.cordoned_at}


def _lock(lease: NodeLease | Unknown | None, now: datetime) -> dict[str, Any] | None:
    """None: nobody holds it. `expired` is None where the lease does not say since when."""
    if isinstance(lease, Unknown):
        return {"unknown": str(lease)}
    if lease is None or not lease.holder:
        return None
    until = lease.valid_until()
    return {
        "holder": lease.holder,
        "run": lease.run,
        "since": lease.since,
        "renewed": lease.renewed.isoformat() if lease.renewed else "",
        "expired": None if until is None else until < now,
    }


def _gpus(node: NodeState) -> dict[str, dict[str, int]]:
    """GPU resource -> allocatable and used; pods that have ended use nothing."""
    used: dict[str, int] = {}
    for pod in node.pods:
        if pod.phase not in FINISHED:
            for name, number in pod.gpu_requests.items():
                used[name] = used.get(name, 0) + number
    offered = {k: quantity(v) for k, v in node.allocatable.items() if is_gpu_resource(k)}
    return {
        name: {"allocatable": offered.get(name, 0), "used": used.get(name, 0)}
        for name in sorted({*offered, *used})
    }


def table(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a table of what `node_data` made."""
    return aligned([COLUMNS, *map(_row, nodes)])


def rollouts(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each cluster of which a run holds the lock of the rollout, or that hides it."""
    held: dict[str, list[str]] = {}
    for node in nodes:
        lock = node.get("rollout")
        if lock is not None:
            since = f" since {lock['since'][:19] or 'unknown'}" if "since" in lock else ""
            text = f"unknown: {lock['unknown']}" if "unknown" in lock else _lock_text(lock)
            held.setdefault(text + since, []).append(node["host"])
    return [f"rollout lock of {_these(hosts)}: {text}" for text, hosts in held.items()]


def advice(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to do about nodes that are out of service; hosts of one advice together."""
    told: dict[str, list[str]] = {}
    for node in nodes:
        text = "" if "unknown" in node else _advice(node)
        if text:
            told.setdefault(text, []).append(node["host"])
    return [f"{names(hosts)}: {text}" for text, hosts in told.items()]


def _advice(node: Mapping[str, Any]) -> str:
    notes, lock, cordon = node["annotations"], node["lock"], node["cordoned"]
    run = notes.get(RUN, "")
    if run and lock and lock.get("run") == run and not lock["expired"]:
        return f"run {run} works there; if it was killed: gpurun resume {run}"
    if run:
        return f"left out of service by run {run}: gpurun resume {run}"
    if CORDON_REASON in notes:
        reason = notes[CORDON_REASON]
        return f"out of service for good ({reason}); once it is mended: gpurun apply gpu-online"
    if cordon:
        who = cordon["by"] or "somebody else"
        return (
            f"cordoned by {who}: ask there; to prove it and give it back: gpurun apply node-return"
        )
    return ""


def _these(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
    return f"the cluster of {hosts[0]}{more}"


def _row(node: Mapping[str, Any]) -> tuple[str, ...]:
    if "unknown" in node:
        return (node["host"], f"unknown: {node['unknown']}")
    return (
        node["host"],
        node["node"],
        "yes" if node["ready"] else "no",
        _cordon_text(node["cordoned"]),
        _lock_text(node["lock"]),
        ", ".join(_gpu_texts(node["gpus"])) or "-",
        ", ".join(key.removeprefix(OURS) for key in node["annotations"]) or "-",
    )


def _cordon_text(cordon: Mapping[str, str] | None) -> str:
    if cordon is None:
        return "-"
    since = f" since {cordon['since'][:19]}" if cordon["since"] else ""
    if not cordon["run"]:
        return f"by {cordon['by'] or 'somebody else'}{since}"
    return f"by run {cordon['run']}{since}"


def _lock_text(lock: Mapping[str, Any] | None) -> str:
    if lock is None:
        return "-"
    if "unknown" in lock:
        return "unknown"
    ran_out = ", has run out" if lock["expired"] else ""
    return f"{lock['holder']} (run {lock['run'] or 'unknown'}{ran_out})"


def _gpu_texts(gpus: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    """A resource of which there is nothing any more, as after a change of MIG, is left out."""
    for name, numbers in gpus.items():
        if numbers["allocatable"] or numbers["used"] or len(gpus) == 1:
            yield f"{name.rpartition('/')[2]} {numbers['used']}/{numbers['allocatable']}"
