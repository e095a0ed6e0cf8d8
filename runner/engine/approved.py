"""A plan made anew in the middle of the work must stay within what was approved. Pure."""

from __future__ import annotations

from runner.engine.ending import Drifted
from runner.engine.planning import HostPlan, PlannedStep


def check_within(approved: HostPlan, plan: HostPlan) -> None:
    """Raise `Drifted` when `plan` would do something that `approved` did not show."""
    shown = {step.key: step for step in approved.pending}
    # A loop that was deferred as a whole has no items yet.
    loops = {(k.section, k.index): s for k, s in shown.items() if s.status in _NOT_YET_KNOWN}
    for step in plan.pending:
        before = shown.get(step.key, loops.get((step.key.section, step.key.index)))
        if before is None and step.looks:
            continue  # it only looks: a risk and a disruption it has not
        if before is None:
            raise Drifted(f"{step.label}: the approved plan did not show this change", _NEXT)
        if step.status == "deferred":
            continue  # counted with the most its module can do; planned, and checked, when due
        if step.risk > before.risk or step.disruption > before.disruption:
            raise Drifted(
                f"{step.label}: risk {step.risk.name.lower()} or disruption "
                f"{step.disruption.name.lower()} is more than the approved plan showed",
                _NEXT,
            )
        if before.status == "change" and not _texts(step) <= _texts(before):
            text = f"{step.label}: the approved plan showed another content for its file"
            raise Drifted(text, _NEXT)


_NEXT = (
    "what ran before it, or somebody else, left the host otherwise than planned: gpurun resume "
    "shows what is left to do as things are now"
)
_NOT_YET_KNOWN = ("deferred", "conditional")


def _texts(step: PlannedStep) -> set[tuple[str, str | None]]:
    """What the step's files would hold."""
    return {(c.diff.path, c.diff.after) for c in step.changes if c.diff}
