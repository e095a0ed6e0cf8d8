"""Doing the steps of an approved plan, until all are done or one has failed for good."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runner.engine.approved import check_within
from runner.engine.batches import blocks, first_batch, is_boundary
from runner.engine.boundaries import act
from runner.engine.delegates import Delegates
from runner.engine.ending import Drifted, Interrupted, StepFailed, lost_during
from runner.engine.events import Events
from runner.engine.host_lock import LockedHost
from runner.engine.kept import Keeper
from runner.engine.locks import Locks, locks_of, together
from runner.engine.maintenance import Maintenance
from runner.engine.marks import Marks
from runner.engine.no_log import HIDDEN
from runner.engine.observe import Hosts, no_delegate, observe
from runner.engine.pending import owed_marks
from runner.engine.planner import kept_after, plan_host
from runner.engine.planning import Done, HostPlan, PlannedStep, Progress, StepKey
from runner.engine.reminding import reminded
from runner.engine.restoring import put_back
from runner.engine.results import failure
from runner.engine.settling import settle_all
from runner.engine.subject import Subject
from runner.engine.tries import Tries, forget
from runner.errors import GpurunError, UnreachableError
from runner.hosts.errors import LostError
from runner.hosts.script import BlockResult, Command
from runner.inventory.model import Host


@dataclass(slots=True)
class Work:
    """The steps of one host of one play, done in order, in its own thread.

    Args:
        approved: the plan that passed the gates; nothing beyond it is done.
        observed: what the plan was made from; kept up to date by every re-read.
        touched: something on the host may differ from before; true from the start for a node
            that an earlier try of this run left in maintenance.
    """

    subject: Subject
    approved: HostPlan
    observed: dict[str, Any]
    connection: Hosts
    node: Maintenance
    events: Events
    stop: threading.Event
    delegates: Delegates = field(default_factory=lambda: Delegates(_not_here, {}))
    done: dict[StepKey, Done] = field(default_factory=dict)
    touched: bool = False
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    plan: HostPlan = field(init=False)
    """The approved plan, later with what became known after its changes."""
    tries: Tries = field(init=False)
    failures: dict[StepKey, StepFailed] = field(default_factory=dict)
    outdated: bool = False
    """The plan is to be made anew before anything else is done."""
    keeper: Keeper | None = None
    """Keeps what is about to be changed; None: nothing can be rolled back."""
    copies: list[Command] = field(default_factory=list)
    """The commands that copied, on the host, what the keeper does not hold."""
    locks: Locks | None = None
    """Of the play's hosts and others; None: nobody else can come to those that tasks change."""
    away: bool = field(init=False)
    """The host does not answer, or has not come back from a reboot, and the play goes on so."""
    marks: Marks = field(init=False)
    changes: list[PlannedStep] = field(default_factory=list)
    """The steps that have changed the play's own host, in order."""

    def __post_init__(self) -> None:
        self.plan = self.approved
        self.away = bool(self.approved.unreachable)
        self.tries = Tries(self.progress, self.stop)
        self.marks = Marks(self.subject.play, self.connection, owed_marks(self.observed))

    @property
    def kept(self) -> dict[str, Any]:
        """What the play's tasks have registered and set on this host."""
        return kept_after(self.subject, self.plan, self.done)

    @property
    def changed(self) -> int:
        """How many steps changed something."""
        return sum(1 for done in self.done.values() if done.changed)

    @property
    def rescued(self) -> list[str]:
        """The failures that the play went on after."""
        failed = {step.key: step.reason for step in self.plan.steps if step.fails}
        return list((failed | {key: e.message for key, e in self.failures.items()}).values())

    def locked(self) -> AbstractContextManager[None]:
        """Holds every lock that the plan needs. Raises GpurunError; nothing is held then."""
        return together(self.node.lock(), locks_of(self.approved, self.locks))

    def check_stop(self) -> None:
        """Raise what ends the work before its next step, if anything does."""
        if self.stop.is_set() and self.plan.failed is not None:
            raise self.failures[self.plan.failed]
        if self.stop.is_set():
            raise Interrupted("stopped before this host was finished")
        if self.node.lost():
            raise StepFailed("the lock on this node was lost; nothing more is done to it")

    def do_all(self) -> None:
        """Do what is left of the plan.

        Raises:
            StepFailed: a step failed and nothing rescued it.
            Drifted, Interrupted, UnreachableError, HostError, ClusterError: as they say.
        """
        going = True
        while going:
            try:
                going = self._next()
            except StepFailed as error:
                self._failed(error)

    def _next(self) -> bool:
        """Do the next batch of steps; False when none is left."""
        if self.outdated:
            self.plan = self._planned_anew()
            self.outdated = False
        batch = first_batch([step for step in self.plan.steps if step.key not in self.done])
        if not batch:
            if self.plan.problem is not None:
                raise _stopped_by(self.plan.problem)
            if self.plan.failed is not None:
                raise self.failures[self.plan.failed]
            self._settled_before(None)
            return False
        if not (self.touched and _finishes(batch[0])):
            self.check_stop()
        self._settled_before(batch[0])
        if batch[0].status == "deferred":
            self._known_now(batch[0])
        elif is_boundary(batch[0]):
            self._boundary(batch[0])
        elif batch[0].delegate:
            self._elsewhere(batch)
        else:
            self._batch(batch)
        return True

    def _settled_before(self, next_step: PlannedStep | None) -> None:
        """What was looked at and judged before a change stays as it was then: it is not asked
        again when the rest is planned anew."""
        settled = []
        for step in self.plan.steps:
            if next_step is not None and step.key == next_step.key:
                break
            if step.key not in self.done and step.status in ("ok", "skipped"):
                self._tell_what_is_new(step)
                skipped = step.status == "skipped"
                result = {"changed": False, "skipped": skipped, **step.result}
                self.done[step.key] = Done(result, changed=False, failed=step.fails)
                settled.append(step)
        left = {s.task.name for s in self.plan.steps if s.key not in self.done or s.fails}
        self.marks.remove_settled(settled, left)

    def _tell_what_is_new(self, step: PlannedStep) -> None:
        """Messages that the approved plan could not know."""
        if not step.messages:
            return
        shown = next((s for s in self.approved.steps if s.key == step.key), None)
        if shown is None or shown.messages != step.messages:
            for text in step.messages:
                self.progress(f"{step.label}: {text}")

    # -- failures -----------------------------------------------------------------------------

    def _failed(self, error: StepFailed) -> None:
        """Go on after a failure where the playbook says how; else raise it."""
        step = error.step
        if step is None or step.key in self.failures:
            raise error
        self._settled_before(step)
        if step.key.section == "handlers":
            error = put_back(self, step, error)
        self.emit("step-failed", step, reason=error.message)
        result = {**failure(error.message, error.result), "changed": error.changed}
        ignored = step.task.ignore_errors
        self.done[step.key] = Done(result, changed=error.changed, failed=not ignored)
        if ignored:
            self.progress(f"{error.message}; ignored")
            self.marks.remove(step)  # nobody waits for it: it is not owed to the next run
            self.observed.clear()  # how far it came is not known
            return
        self.failures[step.key] = error
        if not step.task.blocks:
            raise error
        self.progress(f"{error.message}; the rest of its block is left out")
        self.outdated = True

    # -- changes on the host ------------------------------------------------------------------

    def _elsewhere(self, batch: list[PlannedStep]) -> None:
        """Changes of another host, which other hosts of the play may have made meanwhile: it is
        looked at again, and kept to this thread until they are done."""
        delegate = batch[0].delegate
        # Held already, unless this host was not known before.
        lock = self.locks.elsewhere(delegate) if self.locks else None
        with self.delegates.held(delegate), lock or nullcontext():
            if lock is not None and lock.lost():
                raise StepFailed(f"the lock on {delegate} was lost; nothing more is done to it")
            for step in batch:
                forget(self.observed, step)
            self.plan = self._planned_anew(fresh=False)
            keys = {step.key for step in batch}
            left = [s for s in self.plan.steps if s.key in keys and s.status == "change"]
            for step in left:
                self.marks.make(step)
            there = lock if isinstance(lock, LockedHost) else self.delegates.connection(delegate)
            results = self._changed_by(left, there)
        settle_all(self, left, results)
        for step in batch:
            if step.key in self.done:
                self.marks.remove(step)

    def _batch(self, batch: list[PlannedStep]) -> None:
        settle_all(self, batch, self._changed_by(batch, self.connection))

    def _changed_by(self, batch: list[PlannedStep], connection: Hosts) -> dict[str, BlockResult]:
        """One exec: guard, do and re-read of every step."""
        for step in batch:
            self.emit("step-started", step)
        play = self.subject.play
        copies = self._keep(batch)
        touched_before, self.touched = self.touched, True
        wanted = [block for step in batch for block in blocks(play, step, copies)]
        most = sum(command.timeout for block in wanted for command in block.do)
        try:
            with reminded(self.progress, ", ".join(step.label for step in batch), most):
                found = connection.change(wanted) if wanted else []
        except LostError as error:
            raise lost_during(error, batch) from error
        results = {result.key: result for result in found}
        if all(result.status in ("drifted", "not run") for result in results.values()):
            self.touched = touched_before
        return results

    def _keep(self, steps: Sequence[PlannedStep]) -> dict[str, tuple[Command, ...]]:
        if self.keeper is None:
            return {}
        copies = self.keeper.keep(self.subject.play, self.subject.host.name, steps)
        self.copies += [command for commands in copies.values() for command in commands]
        return copies

    def prune(self) -> None:
        """All went well: of older runs the host need not keep copies for ever."""
        block = self.keeper.prune(self.copies) if self.keeper else None
        if block is None:
            return
        try:
            done = self.connection.change([block])[0].status == "done"
        except GpurunError:
            done = False
        if not done:
            self.progress("copies of older runs could not be removed")

    def reached_by(self, step: PlannedStep) -> Hosts:
        """The connection to the host that a step looks at and changes."""
        return self.delegates.connection(step.delegate) if step.delegate else self.connection

    # -- boundaries ---------------------------------------------------------------------------

    def _boundary(self, step: PlannedStep) -> None:
        self.emit("step-started", step)
        self._keep([step])
        try:
            found = act(self, step)
        except (UnreachableError, Drifted, Interrupted) as error:
            self.emit("step-failed", step, reason=str(error))
            raise
        except GpurunError as error:
            text = f"{step.label}: {HIDDEN if step.task.no_log else error.message}"
            changed = bool(step.changes)
            failed = StepFailed(text, error.hint, step, self.tries.told(step), changed)
            if self.tries.again(step, failed):
                self.outdated = True
                return
            raise failed from error
        self.marks.remove(step)
        result = {"changed": bool(step.changes), **self.tries.told(step), **found}
        self.done[step.key] = Done(result, bool(step.changes))
        self.emit("step-done", step)

    # -- what is only known now ---------------------------------------------------------------

    def _known_now(self, deferred: PlannedStep) -> None:
        """Plan the rest with what is known now; a step that waits for something, waits."""
        plan = self._planned_anew(fresh=deferred.key not in self.tries.counts)
        still = next((s for s in plan.steps if s.key == deferred.key), None)
        if still is not None and still.waits_until:
            self.tries.wait(still)
            forget(self.observed, still)
        elif still is not None and still.status == "deferred":
            text = f"{deferred.label}: still not known: {still.reason}"
            raise StepFailed(text, step=deferred)
        self.plan = plan

    def _planned_anew(self, fresh: bool = True) -> HostPlan:
        """The rest of the plan as things are; refused if it asks for more than was approved."""
        if fresh:
            self.observed.clear()
        progress = Progress(self.done, self.tries.counts)
        plan = self.observe(lambda seen: plan_host(self.subject, seen, progress))
        problem = plan.problem
        if problem and not (plan.pending and _cleans_up(problem)):
            self.plan = plan
            raise _stopped_by(problem)
        check_within(self.approved, plan)
        return plan

    def observe(self, plan: Any) -> HostPlan:
        """The plan that `plan` gives, with all that it asks to look at."""
        node = self.node
        return observe(
            plan,
            self.observed,
            self.connection,
            node.read_node,
            node.read_object,
            self.delegates.connection,
            ignore_unreachable=self.away or self.subject.play.ignore_unreachable,
        )

    def emit(self, kind: str, step: PlannedStep, **data: Any) -> None:
        """Tell what happens to a step."""
        self.events.emit(kind, self.subject.host.name, step.label, step=str(step.key), **data)

    def progress(self, text: str) -> None:
        """Tell how it goes, for a person."""
        self.events.emit("progress", self.subject.host.name, text)


def _not_here(host: Host) -> Hosts:
    return no_delegate(host.name)


def _stopped_by(problem: PlannedStep) -> StepFailed:
    text = f"{problem.label}: {problem.reason}"
    return StepFailed(text, step=problem, result=problem.result)


def _cleans_up(step: PlannedStep) -> bool:
    """A step that is there for a failure: what stands before it is done, also if it fails itself,
    as a `fail` at the end of a `rescue` does."""
    return any(part.kind != "block" for part in step.task.blocks)


def _finishes(step: PlannedStep) -> bool:
    """A step that a changed host needs to be whole again: not left out when the run is stopped."""
    return step.key.section == "handlers" or bool(step.waits)
