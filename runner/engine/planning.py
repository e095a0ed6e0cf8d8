"""What a plan is, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from runner.facts.gpu_users import GpuUsers
from runner.inventory.model import Host
from runner.kube.state import DrainOptions
from runner.modules.base import (
    Arguments,
    Change,
    ClusterProbe,
    Context,
    Disruption,
    Module,
    Probe,
    Risk,
    Unknown,
    Wait,
)
from runner.playbook.document import Play, Task

Section = Literal["preconditions", "tasks", "handlers", "verify"]

Status = Literal[
    "ok", "change", "skipped", "deferred", "conditional", "refused", "unknown", "failed"
]
"""deferred: known after change; conditional: done only if its block fails; refused: impossible
here; unknown: not understood; failed: the playbook is wrong for this host, like a variable that
nothing defines."""


PROBLEMS: tuple[Status, ...] = ("refused", "unknown", "failed")
PENDING_STATUSES: tuple[Status, ...] = ("change", "deferred", "conditional")


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
    """What its `failed_when`, `changed_when` and `until` are judged with."""
    item: tuple[Any, ...] = ()
    """The loop's item, alone; empty: no loop, or one that is not known yet."""
    fails: bool = False
    """It fails, and the `rescue` of its block follows."""
    waits_until: bool = False
    """It is looked at again until its `until` holds."""
    delegate: str = ""
    """The host that is looked at and changed instead of the plan's own."""


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What one play would do on one host."""

    host: Host
    play: Play
    steps: tuple[PlannedStep, ...]
    kept: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What its tasks register and set, for later plays."""
    failed: StepKey | None = None
    """The step that failed and that no `rescue` caught; the steps left are `always` tasks."""
    gpu_users: GpuUsers | Unknown | None = None
    """Who holds the host's GPUs; None: nothing is to be done that GPUs could notice."""
    unreachable: str = ""
    """Why the host does not answer; "": it does."""

    @property
    def problem(self) -> PlannedStep | None:
        """The step that makes the host impossible to work on, if any."""
        return next((s for s in self.steps if s.status in PROBLEMS), None)

    @property
    def pending(self) -> tuple[PlannedStep, ...]:
        """The steps that would do something."""
        return tuple(s for s in self.steps if s.status in PENDING_STATUSES)

    @property
    def risk(self) -> Risk:
        """The largest of its steps, and that of the drain that they need."""
        if self.overrides_budgets:
            return Risk.HIGH
        return max((s.risk for s in self.pending), default=Risk.LOW)

    @property
    def overrides_budgets(self) -> bool:
        """Whether pods would be deleted past their disruption budgets."""
        drain = self.drain
        return drain.disable_eviction and drain.mode != "none" and self.disruption >= Disruption.GPU

    @property
    def drain(self) -> DrainOptions:
        """How its node is drained. The kubelet of a host that does not answer may be dead too, and
        end no pod: none is waited for past its grace period, as with kubectl's option."""
        drain = self.play.drain
        if not self.unreachable or drain.skip_wait_for_delete_timeout:
            return drain
        return replace(drain, skip_wait_for_delete_timeout=1)

    @property
    def disruption(self) -> Disruption:
        return max((s.disruption for s in self.pending), default=Disruption.NONE)


@dataclass(slots=True)
class Needs:
    """What must be read before a plan can be complete."""

    probes: dict[str, Probe] = field(default_factory=dict)
    cluster: bool = False
    objects: dict[str, ClusterProbe] = field(default_factory=dict)
    delegated: dict[str, dict[str, Probe]] = field(default_factory=dict)
    """Other hosts -> probes by the key under which they are observed."""

    def __bool__(self) -> bool:
        return bool(self.probes) or self.cluster or bool(self.objects) or bool(self.delegated)


def seen_as(key: str, delegate: str) -> str:
    """The key under which a probe's state is observed: those of other hosts do not mix."""
    return f"on {delegate}: {key}" if delegate else key


@dataclass(frozen=True, slots=True)
class Done:
    """What an applied step left for later ones."""

    result: Mapping[str, Any]
    changed: bool
    failed: bool = False
    """It failed, and the tasks of its block that follow are left out."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on a host has come.

    Args:
        done: what steps already applied left behind; those are not planned again.
        tries: how often a step that waits for its `until` was looked at, where more than once.
    """

    done: Mapping[StepKey, Done] = field(default_factory=dict)
    tries: Mapping[StepKey, int] = field(default_factory=dict)
