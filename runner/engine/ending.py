"""How the work on one host ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runner.engine.planning import PlannedStep
from runner.errors import GpurunError
from runner.hosts.errors import LostError

HostStatus = Literal[
    "ok", "changed", "skipped", "failed", "unreachable", "drifted", "unknown", "denied"
]


@dataclass(frozen=True, slots=True)
class HostResult:
    """How a host ended. `reason` is for a person; `left` says what is not as it was before."""

    host: str
    status: HostStatus
    reason: str = ""
    left: str = ""
    changed: int = 0


class StepFailed(GpurunError):
    """A step did not do what was planned.

    Args:
        step: which one; None: it was no step, nothing can rescue it.
        result: what it left for `register` and `ansible_failed_result`.
        changed: it may have changed something before it failed.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        step: PlannedStep | None = None,
        result: Mapping[str, Any] | None = None,
        changed: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.step = step
        self.result = dict(result or {})
        self.changed = changed


class Drifted(GpurunError):
    """The host is not as it was when the plan was made; nothing was done to it by this step."""


class Interrupted(GpurunError):
    """The run was asked to stop."""


def lost_during(error: LostError, steps: Sequence[PlannedStep]) -> LostError:
    """The loss of a connection, with the labels of tasks instead of the keys of commands."""
    running = error.running or ""
    at = next(
        (n for n, s in enumerate(steps) if running.startswith((f"{s.key}#", f"{s.key}|"))), None
    )
    if at is None:
        return error
    before = f"; finished before: {', '.join(s.label for s in steps[:at])}" if at else ""
    after = f"; '{steps[at].label}' and what follows it may have been done, whole or in part"
    text = f"the connection was lost during '{steps[at].label}' ({error.why}){before}{after}"
    return LostError(text, error.hint, error.finished, error.running, error.why)
