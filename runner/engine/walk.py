"""The walk over a play: which tasks have their turn, given what was observed and failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.engine.delegates import misplaced
from runner.engine.gpu_users import may_disturb, users_probe
from runner.engine.known import Known
from runner.engine.no_log import concealed
from runner.engine.one_step import conditional, later, not_planned, plan_step
from runner.engine.pending import PENDING, handler_mark, pending_probe
from runner.engine.planning import (
    PENDING_STATUSES,
    PROBLEMS,
    HostPlan,
    Needs,
    PlannedStep,
    Section,
    StepKey,
)
from runner.engine.results import kept_by, result_of, set_by
from runner.engine.steps import rescued
from runner.engine.subject import Once
from runner.engine.unwinding import Unwinding
from runner.engine.variables import FactUnknown, KnownAfterChange, NeedsLook
from runner.facts import gpu_users
from runner.facts.system import REACHABLE_KEY
from runner.modules.base import Disruption, Refused, Unknown
from runner.playbook.document import BlockPart, Task
from runner.playbook.lookups import loop_variables
from runner.playbook.loops import items_of, rounds
from runner.playbook.templates import TemplateProblem, render


class Walk:
    """One walk over a play: which tasks have their turn, and in what order."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.subject = known.subject
        self.done = known.progress.done
        self.notified: set[str] = set()
        self.maybe_notified: set[str] = set()
        self.stopped = False
        self.failed: StepKey | None = None
        why = known.view.get(REACHABLE_KEY)
        self.unreachable = why if isinstance(why, str) else ""

    def plan(self) -> HostPlan | Needs:
        """The plan of the play, but for its `verify` tasks."""
        host, play, known = self.subject.host, self.subject.play, self.known
        steps = tuple(self._steps_of_play())
        plan = HostPlan(host, play, steps, known.kept, self.failed, unreachable=self.unreachable)
        if gpu_users.KEY not in known.view and may_disturb(plan, bool(known.needs.probes)):
            known.needs.probes[gpu_users.KEY] = users_probe(play)
        seen = known.view.get(gpu_users.KEY) if plan.disruption >= Disruption.GPU else None
        return known.needs or replace(plan, gpu_users=seen)

    def verification(self) -> HostPlan | Needs:
        """The plan of the `verify` tasks, which change nothing."""
        play = self.subject.play
        found = tuple(self._section("verify", play.verify))
        plan = HostPlan(self.subject.host, play, found, self.known.kept, self.failed)
        return self.known.needs or plan

    def _steps_of_play(self) -> Iterator[PlannedStep]:
        play = self.subject.play
        if play.handlers:
            self._find_pending_handlers()
        yield from self._section("preconditions", play.preconditions)
        yield from self._section("tasks", play.tasks)
        yield from self._section("handlers", play.handlers)

    def _find_pending_handlers(self) -> None:
        """Handlers that an interrupted run still owes this host."""
        play = self.subject.play
        if PENDING not in self.known.view:
            self.known.needs.probes[PENDING] = pending_probe(play)
            return
        marks = self.known.view[PENDING]
        if isinstance(marks, Unknown):
            return
        owed = {h.name for h in play.handlers if handler_mark(play, h.name) in marks}
        self.notified |= owed

    def _section(self, section: Section, tasks: Sequence[Task]) -> Iterator[PlannedStep]:
        unwinding = Unwinding(tasks)
        for index, task in enumerate(tasks):
            if self.stopped:
                return
            if section == "handlers" and task.name not in self.notified:
                if task.name in self.maybe_notified and unwinding.runs(task):
                    key = StepKey(section, index)
                    yield later(self.known, task, key, task.name, "runs if it is notified")
                continue
            if not unwinding.runs(task):
                continue
            if task.run_once and self.subject.once is not None:
                yield self._done_elsewhere(StepKey(section, index), task, self.subject.once)
            else:
                yield from self._task(section, index, task, unwinding)
        self.stopped = self.stopped or self.failed is not None

    def _task(
        self, section: Section, index: int, task: Task, unwinding: Unwinding
    ) -> Iterator[PlannedStep]:
        steps = []
        for planned in self._steps(StepKey(section, index), task, unwinding.only_after(task)):
            step = self._placed(planned)
            step = rescued(step) if unwinding.catches(task) else step
            steps.append(step)
            self._notify(step)
            self.known.leave(step)
            self.known.kept.update(set_by(step, self.done))
            if step.status in PENDING_STATUSES or step.waits:
                unwinding.may_fail(task)
            yield step
            if step.status in PROBLEMS:
                self.stopped = True
                return
            if step.fails:
                break
        self.known.kept.update(kept_by(task, steps, self.done))
        if steps and steps[-1].fails:
            self._fail(steps[-1], unwinding)

    def _placed(self, step: PlannedStep) -> PlannedStep:
        why = misplaced(self.subject, step)
        return replace(step, status="refused", reason=why, changes=()) if why else step

    def _done_elsewhere(self, key: StepKey, task: Task, once: Once) -> PlannedStep:
        self.known.kept.update(once.kept.get(key, {}))
        return PlannedStep(key, task, task.name, "skipped", reason=f"once, on {once.host}")

    def _fail(self, step: PlannedStep, unwinding: Unwinding) -> None:
        task = step.task
        unwinding.fail(task)
        if unwinding.uncaught:
            self.failed = step.key
        self.known.kept["ansible_failed_task"] = {"name": step.label, "action": task.module}
        self.known.kept["ansible_failed_result"] = result_of(step, self.done)

    def _steps(
        self, key: StepKey, task: Task, only_after: BlockPart | None
    ) -> Iterator[PlannedStep]:
        if only_after is not None:
            yield conditional(self.known, key, task, only_after)
            return
        for item, variables, problem in self._items(key, task):
            step = problem or plan_step(self.known, replace(key, item=item), task, variables)
            if step is not None:
                own = task.loop is not None and problem is None
                shown = (variables[task.loop_control.loop_var],) if own else ()
                yield concealed(replace(step, item=shown), variables)

    def _items(
        self, key: StepKey, task: Task
    ) -> Iterator[tuple[int, Mapping[str, Any], PlannedStep | None]]:
        variables: Mapping[str, Any] = {}
        try:
            variables = self.known.variables(task)
            if task.loop is None:
                yield 0, variables, None
                return
            rendered = render(task.loop, variables, task.origin)
        except NeedsLook:
            return
        except (KnownAfterChange, FactUnknown, TemplateProblem) as error:
            yield 0, variables, not_planned(self.known, task, key, task.name, error)
            return
        items = items_of(rendered, task.loop_form)
        if items is None:
            problem = Refused(f"{task.origin}: 'loop' gave {type(rendered).__name__}, not a list")
            yield 0, variables, not_planned(self.known, task, key, task.name, problem)
            return
        for number, added in enumerate(rounds(items, task.loop_control)):
            if task.module == "set_fact" and number:
                variables = self.known.variables(task)  # what the item before has set
            yield number, loop_variables(variables, task.loop, added), None

    def _notify(self, step: PlannedStep) -> None:
        task = step.task
        if step.status in ("deferred", "conditional"):
            self.maybe_notified |= set(step.notify)
        elif step.status == "change" and task.changed_when:
            if task.changed_when != ("false",):
                self.maybe_notified |= set(task.notify)
        elif step.status == "change" or result_of(step, self.done)["changed"]:
            self.notified |= set(task.notify)
