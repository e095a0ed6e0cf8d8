"""Enacting one host's approved plan: lock, cordon, drain, change, verify, uncordon, unlock."""

from __future__ import annotations

from dataclasses import dataclass

from runner.engine.batches import cluster_actions
from runner.engine.boundaries import wait
from runner.engine.ending import Drifted, HostResult, HostStatus, Interrupted, StepFailed
from runner.engine.host_lock import HostTaken
from runner.engine.planner import plan_verify
from runner.engine.planning import PROBLEMS, HostPlan, Progress
from runner.engine.tries import forget
from runner.engine.work import Work
from runner.errors import ClusterError, GpurunError, UnreachableError
from runner.modules.base import Refused, Unknown


@dataclass(frozen=True, slots=True)
class HostRun:
    """One host of one play from its lock to its end, in its own thread."""

    work: Work

    def run(self) -> HostResult:
        """Work the host off. Never raises for anything that can happen to a host."""
        try:
            with self.work.locked():
                return self._locked()
        except (ClusterError, HostTaken) as error:
            # Only taking locks can end here: nothing was done.
            return HostResult(self._name, "denied", str(error))
        except GpurunError as error:
            return HostResult(self._name, "failed", str(error))

    def _locked(self) -> HostResult:
        work = self.work
        try:
            work.node.enter(work.approved)
            work.check_stop()
            work.do_all()
            work.node.resume_pods()
            self._verify()
            work.prune()
            note = work.node.leave()
        except (GpurunError, Unknown, Refused) as error:
            return self._ended(error, self._back_out())
        notes = [f"rescued: {reason}" for reason in work.rescued] + ([note] if note else [])
        status: HostStatus = "changed" if work.changed else "ok"
        return HostResult(self._name, status, "; ".join(notes), changed=work.changed)

    @property
    def _name(self) -> str:
        return self.work.subject.host.name

    def _back_out(self) -> str:
        """After a failure: an untouched node is given back; a touched one stays out of service."""
        node = self.work.node
        if self.work.touched:
            return node.left()
        try:
            note = node.leave()
        except GpurunError as error:
            return f"{node.left()} ({error.message})"
        if note:
            self.work.progress(note)
        return ""

    def _ended(self, error: Exception, left: str) -> HostResult:
        status: HostStatus = "failed"
        if isinstance(error, HostTaken):
            status = "failed" if self.work.changed else "denied"
        elif isinstance(error, Drifted):
            status = "drifted"
        elif isinstance(error, UnreachableError):
            status = "unreachable"
        elif isinstance(error, Interrupted):
            status = "skipped"
        elif isinstance(error, Unknown):
            status = "unknown"
        return HostResult(self._name, status, str(error), left, self.work.changed)

    # -- proof --------------------------------------------------------------------------------

    def _verify(self) -> None:
        work = self.work
        if not work.subject.play.verify:
            return
        for step in self._proof().steps:
            work.emit("step-started", step)
            if step.status in (*PROBLEMS, "deferred", "change"):
                work.emit("step-failed", step, reason=step.reason)
                raise StepFailed(f"verify: {step.label}: {step.reason or 'would change the host'}")
            wait(work, step)
            for action in cluster_actions(step):
                work.node.perform(action, work.since)
            work.emit("step-done", step)

    def _proof(self) -> HostPlan:
        """The play's `verify` tasks on the host as it is now; what says `until` is waited for."""
        work = self.work
        kept = work.kept
        work.observed.clear()
        progress = Progress({}, work.tries.counts)
        while True:
            plan = work.observe(lambda seen: plan_verify(work.subject, seen, kept, progress))
            waiting = next((step for step in plan.steps if step.waits_until), None)
            if waiting is None:
                return plan
            work.tries.wait(waiting)
            forget(work.observed, waiting)
