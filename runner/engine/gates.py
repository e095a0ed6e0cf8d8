"""Gates: pure rules that let a host's plan through, ask, or deny, with reasons."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from runner.engine.planning import HostPlan
from runner.kube.leases import NodeLease
from runner.kube.maintenance import RUN
from runner.kube.preview import DrainPreview
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
    wanted = plan.drain.mode
    if plan.disruption < Disruption.GPU:
        return "none"
    if wanted is not None:
        return wanted
    return "gpu" if plan.disruption == Disruption.GPU else "full"


def disrupts(plan: HostPlan) -> bool:
    """Whether pods must go for this plan."""
    return plan.disruption >= Disruption.GPU and drain_mode(plan) != "none"


def frees_gpus(plan: HostPlan) -> bool:
    """Whether GPU clients of the operator must go too.

    Also where more may follow: a reboot that is only needed if a step on the GPUs fails.
    """
    return any(step.disruption == Disruption.GPU for step in plan.pending)


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
    denied = [
        *_node_reasons(plan, node),
        *([locked] if locked else []),
        *_drain_reasons(preview),
        *_users_reasons(plan, node),
    ]
    if denied:
        return Gate("deny", tuple(denied))
    if plan.risk >= Risk.MEDIUM:
        past = ": disable_eviction deletes pods past their disruption budgets"
        why = past if plan.overrides_budgets else ""
        return Gate("ask", (f"risk {plan.risk.name.lower()}{why}",))
    return Gate("allow")


def lock_reason(
    lease: NodeLease | Unknown | None,
    run: str,
    now: datetime,
    patience: float,
    heir_of: str = "",
    what: str = "the node",
) -> str:
    """Why a node cannot be locked now, or "" where it can, or where waiting was asked for.

    Args:
        patience: seconds that apply would wait for another holder.
        heir_of: the run whose nodes, and their locks, this one takes over; "": none.
        what: it is the lock of, for messages.
    """
    if lease is None or patience > 0:
        return ""
    if isinstance(lease, Unknown):
        return f"whether the lock of {what} is free is not known: {lease}"
    if not lease.holder or lease.run in (run, heir_of):
        return ""
    until = lease.valid_until()
    if until is not None and until < now:
        return ""
    dead = f"gpurun resume {lease.run}" if lease.run else "gpurun unlock"
    return (
        f"{what} is locked by {lease.holder} (run {lease.run or 'unknown'}): "
        f"--lock-timeout SECONDS waits for it, {dead} ends it where it has died"
    )


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


def _users_reasons(plan: HostPlan, node: NodeState | Unknown | None) -> list[str]:
    """Where only pods that use a GPU shall go, they must be known; else all of them go."""
    if not isinstance(node, NodeState) or drain_mode(plan) != "gpu":
        return []
    otherwise = "or 'drain: {mode: full}' drains all pods"
    if isinstance(plan.gpu_users, Unknown):
        return [f"{plan.gpu_users} ({otherwise})"]
    if plan.gpu_users is not None and not plan.gpu_users.complete:
        return [
            "which processes hold the GPUs is not known: only root sees those of others "
            f"(set 'become: true', {otherwise})"
        ]
    return []


def _drain_reasons(preview: DrainPreview | Unknown | None) -> list[str]:
    if preview is None:
        return []
    if isinstance(preview, Unknown):
        return [f"whether the node can be drained is not known: {preview}"]
    return [f"cannot be drained: {reason}{_allowed_by(reason)}" for reason in preview.blocked]


def _allowed_by(reason: str) -> str:
    """kubectl's texts name its own options; ours have the same names."""
    named = re.search(r"\(use --([a-z-]+) to (?:ignore|override)\)", reason)
    return f" (drain: {{{named[1].replace('-', '_')}: true}} allows it)" if named else ""
