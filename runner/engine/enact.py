"""Enacting one host's approved plan: lock, cordon, drain, change, verify, uncordon, unlock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from runner.engine.batches import (
    blocks,
    cluster_actions,
    first_batch,
    reboots,
    undo_block,
)
from runner.engine.events import Events
from runner.engine.gates import drain_mode
from runner.engine.labels import HIDDEN
from runner.engine.observe import Hosts, no_cluster, observe, parsed
from runner.engine.pending import mark, unmark
from runner.engine.planner import (
    Subject,
    failed_condition,
    plan_host,
    plan_verify,
    registered_after,
)
from runner.engine.planning import PROBLEMS, Done, HostPlan, PlannedStep, StepKey
from runner.errors import ClusterError, GpurunError, UnreachableError
from runner.hosts.script import Block, BlockResult, Result
from runner.kube.state import ObjectQuery
from runner.modules.base import Disruption, Refused, Unknown

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
    """A step did not do what was planned."""


class Drifted(GpurunError):
    """The host is not as it was when the plan was made; nothing was done to it by this step."""


class Interrupted(GpurunError):
    """The run was asked to stop."""


class Maintenance:
    """What the engine asks of the cluster for one node; this one has no cluster."""

    def lock(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def lost(self) -> bool:
        return False

    def enter(self, plan: HostPlan) -> None: ...

    def resume_pods(self) -> None: ...

    def perform(self, action: Any, since: datetime) -> None:
        raise ClusterError("no cluster is configured for this host")

    def leave(self) -> str:
        return ""

    def left(self) -> str:
        return ""

    def read_node(self) -> Any:
        return Unknown("no cluster is configured for this host")

    def read_object(self, query: ObjectQuery) -> Any:
        return no_cluster(query)


@dataclass(slots=True)
class HostRun:
    """One host of one play being worked on, in its own thread.

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
    done: dict[StepKey, Done] = field(default_factory=dict)
    touched: bool = False
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    plan: HostPlan = field(init=False)
    """The approved plan, later with what became known after its changes."""

    def __post_init__(self) -> None:
        self.plan = self.approved

    def run(self) -> HostResult:
        """Work the host off. Never raises for anything that can happen to a host."""
        try:
            with self.node.lock():
                return self._locked()
        except ClusterError as error:
            # Only taking the lock can end here: nothing was done.
            return HostResult(self._name, "denied", str(error))

    def _locked(self) -> HostResult:
        try:
            self.node.enter(self.approved)
            self._check_stop()
            self._work()
            self.node.resume_pods()
            self._verify()
            note = self.node.leave()
        except (GpurunError, Unknown, Refused) as error:
            return self._ended(error, self._back_out())
        changed = self._changed
        return HostResult(self._name, "changed" if changed else "ok", note, changed=changed)

    @property
    def _changed(self) -> int:
        return sum(1 for done in self.done.values() if done.changed)

    @property
    def _name(self) -> str:
        return self.subject.host.name

    def _back_out(self) -> str:
        """After a failure: an untouched node is given back; a touched one stays out of service."""
        if self.touched:
            return self.node.left()
        try:
            self.node.leave()
        except GpurunError as error:
            return f"{self.node.left()} ({error.message})"
        return ""

    def _ended(self, error: Exception, left: str) -> HostResult:
        status: HostStatus = "failed"
        if isinstance(error, Drifted):
            status = "drifted"
        elif isinstance(error, UnreachableError):
            status = "unreachable"
        elif isinstance(error, Interrupted):
            status = "skipped"
        elif isinstance(error, Unknown):
            status = "unknown"
        return HostResult(self._name, status, str(error), left, self._changed)

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise Interrupted("stopped before this host was finished")
        if self.node.lost():
            raise StepFailed("the lock on this node was lost; nothing more is done to it")

    def _work(self) -> None:
        while True:
            left = [step for step in self.plan.steps if step.key not in self.done]
            batch = first_batch(left)
            if not batch:
                return
            if not (self.touched and _finishes(batch[0])):
                self._check_stop()
            self._settled_before(batch[0])
            if batch[0].status == "deferred":
                self.plan = self._replan(batch[0])
            elif batch[0].waits or cluster_actions(batch[0]):
                self._boundary(batch[0], self._cluster)
            elif reboots(batch[0]):
                self._boundary(batch[0], self._reboot)
            else:
                self._batch(batch)

    def _settled_before(self, next_step: PlannedStep) -> None:
        """What was looked at and judged before a change stays as it was then: it is not asked
        again when the rest is planned anew."""
        for step in self.plan.steps:
            if step is next_step:
                return
            if step.key not in self.done and step.status in ("ok", "skipped"):
                skipped = step.status == "skipped"
                result = {"changed": False, "skipped": skipped, **step.result}
                self.done[step.key] = Done(result, changed=False)

    # -- changes on the host ------------------------------------------------------------------

    def _batch(self, batch: list[PlannedStep]) -> None:
        """One exec: guard, do and re-read of every step."""
        for step in batch:
            self._emit("step-started", step)
        touched_before, self.touched = self.touched, True
        wanted = [block for step in batch for block in blocks(self.subject.play, step)]
        results = {result.key: result for result in self.connection.change(wanted)}
        if all(result.status in ("drifted", "not run") for result in results.values()):
            self.touched = touched_before
        for step in batch:
            self._settle(step, [results[f"{step.key}#{n}"] for n in range(len(step.changes))])

    def _settle(self, step: PlannedStep, results: list[BlockResult]) -> None:
        for number, result in enumerate(results):
            if result.status == "drifted":
                raise Drifted(
                    f"{step.label}: the host is no longer as it was when this was planned",
                    "run gpurun plan again to see what it is now",
                )
            if result.status == "not run":
                raise StepFailed(f"{step.label}: was not run")
            if result.status == "failed":
                self._failed(step, number, result)
                return
        states = self._reread(step, results[-1])
        if all(change.predictable for change in step.changes):
            _check_seen(step, states)
        last = results[-1].do[-1 - self._marks_after(step)]
        self._finish(step, states, last)

    def _marks_after(self, step: PlannedStep) -> int:
        return 1 if step.key.section == "handlers" else 0

    def _reread(self, step: PlannedStep, result: BlockResult) -> dict[str, Any]:
        reread = result.reread or {}
        return {
            probe.key: parsed(probe, reread[f"{step.key}|{probe.key}"]) for probe in step.probes
        }

    def _finish(self, step: PlannedStep, states: Mapping[str, Any], last: Result) -> None:
        unpredictable = any(not change.predictable for change in step.changes)
        if unpredictable:
            self.observed.clear()
        self.observed.update(states)
        printed = {"rc": last.rc, **_output(last)} if unpredictable else {}
        result = {"changed": True, "skipped": False, "failed": False, **printed}
        condition = failed_condition(step, self._registered(), result)
        if condition:
            self._emit("step-failed", step, reason=condition)
            raise StepFailed(f"{step.label}: failed_when: {condition}")
        self.done[step.key] = Done(result, changed=True)
        self._emit("step-done", step)

    def _registered(self) -> dict[str, Any]:
        """Results of the tasks done so far, loops left out."""
        names = [None if t.loop is not None else t.register for t in self.subject.play.tasks]
        found = [(k, done) for k, done in self.done.items() if k.section == "tasks"]
        return {name: done.result for key, done in found if (name := names[key.index])}

    def _failed(self, step: PlannedStep, number: int, result: BlockResult) -> None:
        why = f"{step.label}: {_why(step, number, result)}"
        self._emit("step-failed", step, reason=why)
        if step.task.ignore_errors:
            last = result.do[-1] if result.do else Result(1)
            failed = {"changed": True, "failed": True, "rc": last.rc, **_output(last)}
            self.done[step.key] = Done(failed, changed=True)
            self.observed.clear()  # how far it came is not known
            return
        undo = undo_block(step, number)
        if undo is None:
            raise StepFailed(why)
        undone = self.connection.change([undo])[0].status == "done"
        note = "what it had begun was undone" if undone else "undoing what it had begun failed too"
        raise StepFailed(f"{why}; {note}")

    # -- boundaries ---------------------------------------------------------------------------

    def _boundary(self, step: PlannedStep, act: Callable[[PlannedStep], None]) -> None:
        self._emit("step-started", step)
        try:
            act(step)
        except GpurunError as error:
            self._emit("step-failed", step, reason=str(error))
            raise
        play = self.subject.play
        gone = bool(reboots(step)) and play.become  # /run is empty after a reboot, a home is not
        if step.key.section == "handlers" and step.changes and not gone:
            command = unmark(play, step.task.name, str(step.key))
            self.connection.change([Block(str(step.key), None, (command,))])
        self.done[step.key] = Done({"changed": bool(step.changes)}, bool(step.changes))
        self._emit("step-done", step)

    def _cluster(self, step: PlannedStep) -> None:
        self._mark_handlers(step)
        self.node.resume_pods()
        for action in cluster_actions(step):
            self.touched = self.touched or bool(step.changes)
            self.node.perform(action, self.since)
        for key in [key for key in self.observed if key.startswith("kubernetes:")]:
            del self.observed[key]

    def _mark_handlers(self, step: PlannedStep) -> None:
        """A run that is killed after the cluster changed must not lose the restart it calls for."""
        if step.changes and step.notify:
            command = mark(self.subject.play, step.notify, str(step.key))
            self.connection.change([Block(str(step.key), None, (command,))])

    def _reboot(self, step: PlannedStep) -> None:
        for reboot in reboots(step):
            self.touched = True
            self.connection.reboot(reboot.timeout)
        self.observed.clear()

    # -- what is only known now ---------------------------------------------------------------

    def _replan(self, deferred: PlannedStep) -> HostPlan:
        """The rest of the plan with what is known now; refused if it asks for more than was
        approved."""
        self.observed.clear()
        plan = observe(
            lambda seen: plan_host(self.subject, seen, self.done),
            self.observed,
            self.connection,
            self.node.read_node,
            self.node.read_object,
        )
        problem = plan.problem
        if problem:
            raise StepFailed(f"{problem.label}: {problem.reason}")
        still = next((s for s in plan.steps if s.key == deferred.key), None)
        if still is not None and still.status == "deferred":
            raise StepFailed(f"{deferred.label}: still not known: {still.reason}")
        check_within(self.approved, plan)
        return plan

    # -- proof --------------------------------------------------------------------------------

    def _verify(self) -> None:
        if not self.subject.play.verify:
            return
        registered = registered_after(self.subject, self.plan, self.done)
        self.observed.clear()
        plan = observe(
            lambda seen: plan_verify(self.subject, seen, registered),
            self.observed,
            self.connection,
            self.node.read_node,
            self.node.read_object,
        )
        for step in plan.steps:
            self._emit("step-started", step)
            if step.status in (*PROBLEMS, "deferred", "change"):
                self._emit("step-failed", step, reason=step.reason)
                raise StepFailed(f"verify: {step.label}: {step.reason or 'would change the host'}")
            for wait in step.waits:
                self.node.perform(wait, self.since)
            self._emit("step-done", step)

    def _emit(self, kind: str, step: PlannedStep, **data: Any) -> None:
        self.events.emit(kind, self._name, step.label, step=str(step.key), **data)


def check_within(approved: HostPlan, plan: HostPlan) -> None:
    """Raise `Drifted` when `plan` would do something that `approved` did not show."""
    shown = {step.key: step for step in approved.pending}
    # A loop that was deferred as a whole has no items yet.
    loops = {(k.section, k.index): s for k, s in shown.items() if s.status == "deferred"}
    for step in plan.pending:
        before = shown.get(step.key, loops.get((step.key.section, step.key.index)))
        if before is None:
            raise Drifted(f"{step.label}: the approved plan did not show this change")
        if step.risk > before.risk or step.disruption > before.disruption:
            raise Drifted(
                f"{step.label}: risk {step.risk.name.lower()} or disruption "
                f"{step.disruption.name.lower()} is more than the approved plan showed"
            )
        if before.status == "change" and not _texts(step) <= _texts(before):
            raise Drifted(f"{step.label}: the approved plan showed another content for its file")


def _texts(step: PlannedStep) -> set[tuple[str, str | None]]:
    """What the step's files would hold."""
    return {(c.diff.path, c.diff.after) for c in step.changes if c.diff}


def _finishes(step: PlannedStep) -> bool:
    """A step that a changed host needs to be whole again: not left out when the run is stopped."""
    return step.key.section == "handlers" or bool(step.waits)


def _check_seen(step: PlannedStep, states: Mapping[str, Any]) -> None:
    """Done means seen: with what was just read, nothing may be left to do."""
    for state in states.values():
        if isinstance(state, Unknown):
            why = HIDDEN if step.task.no_log else state
            raise StepFailed(f"{step.label}: done, but what it did cannot be read: {why}")
    if step.module is None or step.context is None or not step.probes:
        return
    context = replace(step.context, notified=False)
    try:
        outcome = step.module.plan(step.args, states, context)
    except (Refused, Unknown) as error:
        now = HIDDEN if step.task.no_log else error
        raise StepFailed(f"{step.label}: done, but now: {now}") from None
    if outcome.changes:
        still = "; ".join(change.summary for change in outcome.changes)
        still = HIDDEN if step.task.no_log else still
        raise StepFailed(f"{step.label}: the commands succeeded, but still to do: {still}")


def _why(step: PlannedStep, number: int, result: BlockResult) -> str:
    if not result.do:
        return "failed before its first command"
    last = result.do[-1]
    if last.timed_out:
        return (
            f"did not end within {_timeout(step, number, len(result.do)):g} s and was ended "
            "(the task's 'timeout' sets how long it may take)"
        )
    text = HIDDEN if step.task.no_log else last.error_text[-2000:]
    return f"failed with exit code {last.rc}" + (f": {text}" if text else "")


def _timeout(step: PlannedStep, number: int, count: int) -> float:
    marks = 1 if step.notify and number == 0 else 0
    actions = step.changes[number].do
    action = actions[min(max(count - 1 - marks, 0), len(actions) - 1)]
    return float(getattr(action, "timeout", 0.0))


def _output(result: Result) -> dict[str, Any]:
    return {
        "stdout": result.text.removesuffix("\n"),
        "stdout_lines": result.text.splitlines(),
        "stderr": result.stderr.decode("utf-8", "replace").removesuffix("\n"),
    }


def disrupts(plan: HostPlan) -> bool:
    """Whether pods must go for this plan."""
    return plan.disruption >= Disruption.GPU and drain_mode(plan) != "none"
