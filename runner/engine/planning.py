"""What a plan is, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runner.inventory.model import Host
from runner.modules.base import (
    Arguments,
    Change,
    ClusterProbe,
    Context,
    Disruption,
    Module,
    Probe,
    Risk,
    Wait,
)
from runner.playbook.document import Play, Task

Section = Literal["preconditions", "tasks", "handlers", "verify"]

Status = Literal["ok", "change", "skipped", "deferred", "refused", "unknown", "failed"]
"""deferred: known after change; refused: impossible here; unknown: not understood; failed: the
playbook is wrong for this host, like a variable that nothing defines."""


PROBLEMS: tuple[Status, ...] = ("refused", "unknown", "failed")


@dataclass(frozen=True, slots=True, order=True)
class StepKey:
    """Names one task (and loop item) of a play, the same in every plan of it."""

    section: Section
    index: int
    item: int = 0

    def __str__(self) -> str:
        return f"{self.section}/{self.index}/{self.item}"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One task (or one loop item of it) on one host, and what it would do."""

    key: StepKey
    task: Task
    label: str
    status: Status
    changes: tuple[Change, ...] = ()
    waits: tuple[Wait, ...] = ()
    messages: tuple[str, ...] = ()
    reason: str = ""
    """Why it is refused, unknown, deferred or skipped."""
    module: Module[Any] | None = None
    args: Arguments | None = None
    context: Context | None = None
    probes: tuple[Probe, ...] = ()
    risk: Risk = Risk.LOW
    disruption: Disruption = Disruption.NONE
    notify: tuple[str, ...] = ()
    looks: bool = False
    """A deferred step that changes nothing: it looks, or judges, after a change."""
    result: Mapping[str, Any] = field(default_factory=dict)
    """What `register` stores when nothing changes."""
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What its `failed_when` is judged with."""


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What one play would do on one host."""

    host: Host
    play: Play
    steps: tuple[PlannedStep, ...]

    @property
    def problem(self) -> PlannedStep | None:
        """The step that makes the host impossible to work on, if any."""
        return next((s for s in self.steps if s.status in PROBLEMS), None)

    @property
    def pending(self) -> tuple[PlannedStep, ...]:
        """The steps that would do something."""
        return tuple(s for s in self.steps if s.status in ("change", "deferred"))

    @property
    def risk(self) -> Risk:
        return max((s.risk for s in self.pending), default=Risk.LOW)

    @property
    def disruption(self) -> Disruption:
        return max((s.disruption for s in self.pending), default=Disruption.NONE)


@dataclass(slots=True)
class Needs:
    """What must be read before a plan can be complete."""

    probes: dict[str, Probe] = field(default_factory=dict)
    cluster: bool = False
    objects: dict[str, ClusterProbe] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.probes) or self.cluster or bool(self.objects)


@dataclass(frozen=True, slots=True)
class Done:
    """What an applied step left for later ones."""

    result: Mapping[str, Any]
    changed: bool
