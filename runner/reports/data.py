"""Plans and results as plain data: the one form that JSON output, journal and terminal share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runner.engine.no_log import HIDDEN
from runner.engine.planning import HostPlan, PlannedStep
from runner.facts.base import plain
from runner.facts.gpu_users import GpuUsers
from runner.kube.state import NodeState
from runner.modules.base import Change, Unknown
from runner.reports.diffs import changed_keys, diff_text

if TYPE_CHECKING:
    from runner.engine.states import HostState

STATUSES = (
    "ok",
    "changed",
    "skipped",
    "failed",
    "unreachable",
    "drifted",
    "unknown",
    "denied",
)


def host_plan(state: HostState) -> dict[str, Any]:
    """One host of one play: its changes, gate, drain and what stands in the way."""
    plan = state.plan
    if plan is None:
        return {
            "play": state.play.name,
            "status": state.result.status if state.result else "unknown",
            "reasons": [state.result.reason] if state.result else [],
            "changes": [],
            "messages": [],
        }
    return {
        "play": state.play.name,
        "status": _plan_status(state),
        "reasons": list(state.gate.reasons),
        "risk": plan.risk.name.lower() if plan.pending else "none",
        "disruption": plan.disruption.name.lower(),
        "drain": _drain(state),
        "gpu_users": _gpu_users(plan),
        "changes": [c for step in plan.steps for c in step_changes(state.host.name, step)],
        "waits": [text for step in plan.steps for text in _waits(step)],
        "messages": [
            *_unreachable(plan, state.node),
            *_given_back(state),
            *(f"{s.label}: {text}" for s in plan.steps for text in _messages(s, plan.pending)),
        ],
        "skipped": [
            {"task": s.label, "reason": s.reason} for s in plan.steps if s.status == "skipped"
        ],
    }


def _unreachable(plan: HostPlan, node: NodeState | Unknown | None) -> list[str]:
    """Of a host that does not answer, and is worked on all the same."""
    if not plan.unreachable or not plan.pending:
        return []
    texts = [
        f"the host does not answer ({plan.unreachable}): what else is to be done is known once it "
        "is back"
    ]
    if node is None:
        texts.append("its lock cannot be seen: make sure that no other run works on it")
    return texts


def _given_back(state: HostState) -> list[str]:
    """Of a node that an earlier run left out of service, and that comes back with this one."""
    if not _comes_back(state) or state.gate.verdict == "deny":
        return []
    if state.inherits:
        return [f"the node is taken over from run {state.inherits}, and given back at the end"]
    return ["this run has left the node out of service before; it is given back at the end"]


def _comes_back(state: HostState) -> bool:
    """Whether something is to be done even if no task has anything to do."""
    return bool(state.inherits) or state.left_behind


def _messages(step: PlannedStep, pending: Sequence[PlannedStep]) -> list[str]:
    """What a step says in a plan. Nothing is waited for where nothing is to be changed."""
    later = [_what_is_known(step)] if step.looks else []
    return [*step.messages, *later, *(_waits(step) if pending else [])]


def _waits(step: PlannedStep) -> list[str]:
    return [HIDDEN if step.task.no_log else str(wait) for wait in step.waits]


def _what_is_known(step: PlannedStep) -> str:
    """Of a step that is settled only while the plan is carried out."""
    if step.status == "conditional" or step.waits_until:
        return step.reason
    return f"known after change: {step.reason}"


def _plan_status(state: HostState) -> str:
    plan = state.plan
    assert plan is not None
    if state.result is not None and state.result.status != "ok":
        return state.result.status
    return "pending" if plan.pending or _comes_back(state) else "ok"


def _drain(state: HostState) -> dict[str, Any] | None:
    preview = state.preview
    if preview is None:
        return None
    if isinstance(preview, Unknown):
        return {"unknown": str(preview)}
    owned = [pod for pod in preview.evict if pod.owner_kind]
    return {
        "evict": [pod.full_name for pod in preview.evict],
        "owners": {pod.full_name: f"{pod.owner_kind} {pod.owner_name}" for pod in owned},
        "ignored": list(preview.ignored),
        "blocked": list(preview.blocked),
        "waits": list(preview.waits),
        "warnings": list(preview.warnings),
        "grace_seconds": preview.grace,
        "taint": preview.taint,
        "pauses": list(preview.pauses),
    }


def _gpu_users(plan: HostPlan) -> list[str]:
    """Processes that hold the host's GPUs and that no drain ends, with what does."""
    return list(plan.gpu_users.others()) if isinstance(plan.gpu_users, GpuUsers) else []


def step_changes(host: str, step: PlannedStep) -> list[dict[str, Any]]:
    """A step's changes; one of which not all is known yet is one change."""
    if step.looks:
        return []
    if step.status in ("deferred", "conditional"):
        return [
            {
                "host": host,
                "task": step.label,
                "summary": _what_is_known(step),
                "risk": step.risk.name.lower(),
                "disruption": step.disruption.name.lower(),
                "predictable": False,
                "before": None,
                "after": None,
                "keys": [],
                "diff": "",
            }
        ]
    return [_change(host, step, change) for change in step.changes]


def _change(host: str, step: PlannedStep, change: Change) -> dict[str, Any]:
    return {
        "host": host,
        "task": step.label,
        "summary": change.summary,
        "risk": change.risk.name.lower(),
        "disruption": change.disruption.name.lower(),
        "predictable": change.predictable,
        "before": plain(change.before),
        "after": plain(change.after),
        **_diff(step, change),
    }


def _diff(step: PlannedStep, change: Change) -> dict[str, Any]:
    if change.diff is None:
        return {"keys": [], "diff": ""}
    if step.task.no_log:
        return {"keys": [], "diff": HIDDEN}
    return {"keys": changed_keys(change.diff), "diff": diff_text(change.diff)}


def summary(states: Sequence[HostState], applied: bool) -> dict[str, int]:
    """How many hosts ended how. A host of several plays counts with its worst."""
    worst: dict[str, str] = {}
    for state in states:
        status = _status(state, applied)
        known = worst.get(state.host.name, "ok")
        worst[state.host.name] = max(status, known, key=_SEVERITY.__getitem__)
    counts = Counter(worst.values())
    names = STATUSES if applied else (*STATUSES, "pending")
    return {name: counts.get(name, 0) for name in names}


_SEVERITY = {
    name: number
    for number, name in enumerate(
        (
            "ok",
            "pending",
            "changed",
            "skipped",
            "denied",
            "unknown",
            "drifted",
            "unreachable",
            "failed",
        )
    )
}


def _status(state: HostState, applied: bool) -> str:
    if state.result is not None:
        return state.result.status
    if applied:
        return "skipped"
    return "pending" if state.plan and (state.plan.pending or _comes_back(state)) else "ok"


def report(run: str, states: Sequence[HostState], applied: bool) -> dict[str, Any]:
    """The object that `--output json` prints."""
    plans = [(state, host_plan(state)) for state in states]
    return {
        "run": run,
        "applied": applied,
        "hosts": [
            {
                "host": state.host.name,
                **{key: value for key, value in plan.items() if key != "changes"},
                "status": _status(state, applied),
                "reason": state.result.reason if state.result else "",
                "left": state.result.left if state.result else "",
            }
            for state, plan in plans
        ],
        "changes": [change for _, plan in plans for change in plan["changes"]],
        "summary": summary(states, applied),
    }


def exit_code(counts: Mapping[str, int], applied: bool) -> int:
    """0 done or nothing to do; 1 error; 2 changes pending (plan) or partly failed (apply);
    3 drifted; 4 gate denied."""
    if counts["drifted"]:
        return 3
    bad = counts["failed"] + counts["unreachable"] + counts["unknown"] + counts["skipped"]
    good = counts["ok"] + counts["changed"] + counts.get("pending", 0)
    if bad:
        return 2 if good and applied else 1
    if counts.get("pending"):
        return 2
    return 4 if counts["denied"] else 0
