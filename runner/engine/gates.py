"""Gates: pure rules that let a host's plan through, ask, or deny, with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from runner.engine.planning import HostPlan
from runner.kube.drain import DrainPreview
from runner.kube.leases import NodeLease
from runner.kube.maintenance import RUN
from runner.kube.state import DrainMode, NodeState
from runner.modules.base import Disruption, Risk, Unknown

Verdict = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gates say of one host. `status` is how a denied host is counted."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    status: Literal["denied", "unknown", "failed"] = "denied"


def drain_mode(plan: HostPlan) -> DrainMode:
    """Which pods must go: as the play says, else what its actual changes need."""
    wanted = plan.play.drain.mode
    if plan.disruption < Disruption.GPU:
        return "none"
    if wanted is not None:
        return wanted
    return "gpu" if plan.disruption == Disruption.GPU else "full"


def disrupts(plan: HostPlan) -> bool:
    """Whether pods must go for this plan."""
    return plan.disruption >= Disruption.GPU and drain_mode(plan) != "none"


def gate(
    plan: HostPlan,
    node: NodeState | Unknown | None,
    preview: DrainPreview | Unknown | None,
    run: str,
    locked: str = "",
    heir_of: str = "",
) -> Gate:
    """Whether this host may be worked on.

    Args:
        node: the cluster's view; None: no cluster is configured; Unknown: it could not be read.
        preview: what a drain would do; None: nothing needs to go.
        run: this run's id, to know its own marks.
        locked: why the node's lock is not free; "": it is.
        heir_of: the run whose nodes this one takes over; "": none.
    """
    taken = _taken(node, run, heir_of)
    if taken:
        return Gate("deny", (taken,))
    problem = plan.problem
    if problem:
        reasons = (f"{problem.label}: {problem.reason}",)
        if problem.status == "unknown":
            return Gate("deny", reasons, "unknown")
        return Gate("deny", reasons, "failed" if problem.status == "failed" else "denied")
    if not plan.pending:
        return Gate("allow")
    denied = [*_node_reasons(plan, node), *([locked] if locked else []), *_drain_reasons(preview)]
    if denied:
        return Gate("deny", tuple(denied))
    if plan.risk >= Risk.MEDIUM:
        return Gate("ask", (f"risk {plan.risk.name.lower()}",))
    return Gate("allow")


def lock_reason(
    lease: NodeLease | Unknown | None, run: str, now: datetime, patience: float, heir_of: str = ""
) -> str:
    """Why a node cannot be locked now, or "" where it can, or where waiting was asked for.

    Args:
        patience: seconds that apply would wait for another holder.
        heir_of: the run whose nodes, and their locks, this one takes over; "": none.
    """
    if lease is None or patience > 0:
        return ""
    if isinstance(lease, Unknown):
        return f"whether the node's lock is free is not known: {lease}"
    if not lease.holder or lease.run in (run, heir_of):
        return ""
    until = lease.valid_until()
    if until is not None and until < now:
        return ""
    return f"the node is locked by {lease.holder} (run {lease.run or 'unknown'})"


def _taken(node: NodeState | Unknown | None, run: str, heir_of: str) -> str:
    owner = node.annotations.get(RUN) if isinstance(node, NodeState) else None
    if not owner or owner in (run, heir_of):
        return ""
    return f"run {owner} has not finished with this node: gpurun resume {owner}"


def _node_reasons(plan: HostPlan, node: NodeState | Unknown | None) -> list[str]:
    if isinstance(node, Unknown):
        return [f"the cluster's view of this node is not known: {node}"]
    if node is None:
        if drain_mode(plan) == "none":
            return []
        return [
            "its pods would have to go, but no cluster is configured "
            "(set the inventory variable 'kubeconfig', or 'drain: {mode: none}' in the play)"
        ]
    return []


def _drain_reasons(preview: DrainPreview | Unknown | None) -> list[str]:
    if preview is None:
        return []
    if isinstance(preview, Unknown):
        return [f"whether the node can be drained is not known: {preview}"]
    return [f"cannot be drained: {reason}" for reason in preview.blocked]
