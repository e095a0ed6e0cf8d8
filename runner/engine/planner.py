"""Planning: a pure walk over a play with what was observed of one host.

`plan_host` is called until it needs nothing more: each call either returns a complete plan or
says what has to be read first, everything at once. The same walk serves a dry run and an apply;
there is no other place that decides what a task does.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runner.engine.asking import answer, arguments_of, context_of
from runner.engine.batches import reboots
from runner.engine.delegates import delegate_of, misplaced
from runner.engine.gpu_users import may_disturb, users_probe
from runner.engine.no_log import concealed
from runner.engine.pending import PENDING, handler_mark, pending_probe
from runner.engine.planning import (
    PENDING_STATUSES,
    PROBLEMS,
    Done,
    HostPlan,
    Needs,
    PlannedStep,
    Section,
    StepKey,
    seen_as,
)
from runner.engine.results import (
    failure,
    judged,
    kept_by,
    most_tries,
    reached,
    result_of,
    set_by,
)
from runner.engine.secrets import check_not_exposed
from runner.engine.steps import (
    delegated,
    label_of,
    name_of,
    once_more,
    problem_status,
    rescued,
    step_for_later,
    step_of,
)
from runner.engine.subject import Once, Subject
from runner.engine.unwinding import Unwinding
from runner.engine.variables import Facts, FactUnknown, KnownAfterChange, NeedsLook, variables_of
from runner.facts import gpu_users
from runner.facts.system import REACHABLE_KEY
from runner.kube.state import NODE
from runner.modules.base import (
    ClusterProbe,
    Disruption,
    Module,
    Outcome,
    Probe,
    Refused,
    Unknown,
)
from runner.modules.registry import load_module
from runner.playbook.document import BlockPart, Task
from runner.playbook.lookups import loop_variables
from runner.playbook.loops import items_of, rounds
from runner.playbook.templates import NotYetKnown, TemplateProblem, holds, render


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on a host has come.

    Args:
        done: what steps already applied left behind; those are not planned again.
        tries: how often a step that waits for its `until` was looked at, where more than once.
    """

    done: Mapping[StepKey, Done] = field(default_factory=dict)
    tries: Mapping[StepKey, int] = field(default_factory=dict)


def plan_host(
    subject: Subject, observed: Mapping[str, Any], progress: Progress | None = None
) -> HostPlan | Needs:
    """The plan for one host, or what must be read before there can be one.

    Args:
        observed: probe key -> parsed state, or the `Unknown` its parser raised.
    """
    walk = _Walk(subject, ChainMap({}, dict(observed)), progress or Progress())
    return walk.plan(walk.run())


def plan_verify(
    subject: Subject,
    observed: Mapping[str, Any],
    kept: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> HostPlan | Needs:
    """The play's `verify` tasks against the host as it is now.

    Args:
        kept: what the play's tasks registered and set.
    """
    walk = _Walk(subject, ChainMap({}, dict(observed)), progress or Progress())
    walk.kept.update(kept or {})
    return walk.verification()


def kept_after(subject: Subject, plan: HostPlan, done: Mapping[StepKey, Done]) -> dict[str, Any]:
    """What the tasks of a plan have registered and set once the steps in `done` are applied."""
    steps_of: dict[tuple[Section, int], list[PlannedStep]] = {}
    for step in plan.steps:
        steps_of.setdefault((step.key.section, step.key.index), []).append(step)
    kept = dict(subject.kept.get(subject.host.name, {}))
    for (section, index), steps in steps_of.items():
        if steps[0].task.run_once and subject.once is not None:
            kept.update(subject.once.kept.get(StepKey(section, index), {}))
        else:
            kept.update(kept_by(steps[0].task, steps, done))
    return kept


class _Walk:
    """One walk over a play. Its state is what earlier tasks leave for later ones."""

    def __init__(
        self, subject: Subject, view: MutableMapping[str, Any], progress: Progress
    ) -> None:
        self.subject = subject
        self.view = view
        self.done = progress.done
        self.tries = progress.tries
        why = view.get(REACHABLE_KEY)
        self.unreachable = why if isinstance(why, str) else ""
        self.needs = Needs()
        self.kept: dict[str, Any] = dict(subject.kept.get(subject.host.name, {}))
        self.notified: set[str] = set()
        self.maybe_notified: set[str] = set()
        self.pending_since = ""
        """Label of the first step that would change the host: looks after it have to wait."""
        self.uncertain_since = ""
        """Label of the first pending task whose effect cannot be known."""
        self.stopped = False
        self.failed: StepKey | None = None

    def plan(self, steps: Iterator[PlannedStep]) -> HostPlan | Needs:
        host, play = self.subject.host, self.subject.play
        plan = HostPlan(
            host, play, tuple(steps), self.kept, self.failed, unreachable=self.unreachable
        )
        if gpu_users.KEY not in self.view and may_disturb(plan, bool(self.needs.probes)):
            self.needs.probes[gpu_users.KEY] = users_probe(play)
        seen = self.view.get(gpu_users.KEY) if plan.disruption >= Disruption.GPU else None
        return self.needs or replace(plan, gpu_users=seen)

    def verification(self) -> HostPlan | Needs:
        """The plan of the `verify` tasks, which change nothing."""
        play = self.subject.play
        found = tuple(self.section("verify", play.verify))
        return self.needs or HostPlan(self.subject.host, play, found, self.kept, self.failed)

    def run(self) -> Iterator[PlannedStep]:
        play = self.subject.play
        if play.handlers:
            self._find_pending_handlers()
        yield from self.section("preconditions", play.preconditions)
        yield from self.section("tasks", play.tasks)
        yield from self.section("handlers", play.handlers)

    def _find_pending_handlers(self) -> None:
        """Handlers that an interrupted run still owes this host."""
        play = self.subject.play
        if PENDING not in self.view:
            self.needs.probes[PENDING] = pending_probe(play)
            return
        marks = self.view[PENDING]
        if isinstance(marks, Unknown):
            return
        owed = {h.name for h in play.handlers if handler_mark(play, h.name) in marks}
        self.notified |= owed

    def section(self, section: Section, tasks: Sequence[Task]) -> Iterator[PlannedStep]:
        unwinding = Unwinding(tasks)
        for index, task in enumerate(tasks):
            if self.stopped:
                return
            if section == "handlers" and task.name not in self.notified:
                if task.name in self.maybe_notified and unwinding.runs(task):
                    key = StepKey(section, index)
                    yield self._later(task, key, task.name, "runs if it is notified")
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
            self._account(step)
            self.kept.update(set_by(step, self.done))
            if step.status in PENDING_STATUSES or step.waits:
                unwinding.may_fail(task)
            yield step
            if step.status in PROBLEMS:
                self.stopped = True
                return
            if step.fails:
                break
        self.kept.update(kept_by(task, steps, self.done))
        if steps and steps[-1].fails:
            self._fail(steps[-1], unwinding)

    def _placed(self, step: PlannedStep) -> PlannedStep:
        why = misplaced(self.subject, step)
        return replace(step, status="refused", reason=why, changes=()) if why else step

    def _done_elsewhere(self, key: StepKey, task: Task, once: Once) -> PlannedStep:
        self.kept.update(once.kept.get(key, {}))
        return PlannedStep(key, task, task.name, "skipped", reason=f"once, on {once.host}")

    def _fail(self, step: PlannedStep, unwinding: Unwinding) -> None:
        task = step.task
        unwinding.fail(task)
        if unwinding.uncaught:
            self.failed = step.key
        self.kept["ansible_failed_task"] = {"name": step.label, "action": task.module}
        self.kept["ansible_failed_result"] = result_of(step, self.done)

    def _steps(
        self, key: StepKey, task: Task, only_after: BlockPart | None
    ) -> Iterator[PlannedStep]:
        if only_after is not None:
            yield self._conditional(key, task, only_after)
            return
        for item, variables, problem in self._items(key, task):
            step = problem or self._item(replace(key, item=item), task, variables)
            if step is not None:
                own = task.loop is not None and problem is None
                shown = (variables[task.loop_control.loop_var],) if own else ()
                yield concealed(replace(step, item=shown), variables)

    def _conditional(self, key: StepKey, task: Task, part: BlockPart) -> PlannedStep:
        """A task that is only done if its block fails: what it would meet then is not known."""
        why = f"only if '{part.name}' fails"
        unknown = KnownAfterChange(why)
        self.kept |= {"ansible_failed_task": unknown, "ansible_failed_result": unknown}
        label = task.name
        try:
            variables = self.variables(task)
            label = label if task.no_log else name_of(task, variables)
            for condition in task.when:
                if not holds(condition, variables, task.origin):
                    return PlannedStep(key, task, label, "skipped", reason=f"when: {condition}")
        except (NotYetKnown, TemplateProblem):
            pass  # judged when it is due
        return step_for_later(self.subject.play, task, key, label, why, "conditional")

    def _items(
        self, key: StepKey, task: Task
    ) -> Iterator[tuple[int, Mapping[str, Any], PlannedStep | None]]:
        variables: Mapping[str, Any] = {}
        try:
            variables = self.variables(task)
            if task.loop is None:
                yield 0, variables, None
                return
            rendered = render(task.loop, variables, task.origin)
        except NeedsLook:
            return
        except (KnownAfterChange, FactUnknown, TemplateProblem) as error:
            yield 0, variables, self._not_planned(task, key, task.name, error)
            return
        items = items_of(rendered, task.loop_form)
        if items is None:
            problem = Refused(f"{task.origin}: 'loop' gave {type(rendered).__name__}, not a list")
            yield 0, variables, self._not_planned(task, key, task.name, problem)
            return
        for number, added in enumerate(rounds(items, task.loop_control)):
            if task.module == "set_fact" and number:
                variables = self.variables(task)  # what the item before has set
            yield number, loop_variables(variables, task.loop, added), None

    def _item(self, key: StepKey, task: Task, variables: Mapping[str, Any]) -> PlannedStep | None:
        label = label_of(task, variables)
        if key in self.done:
            done = self.done[key]
            why = str(done.result.get("msg", "")) if done.failed else ""
            return PlannedStep(key, task, label, "ok", reason=why, fails=done.failed)
        module = load_module(task.module)
        try:
            for condition in task.when:
                if not holds(condition, variables, task.origin):
                    return PlannedStep(key, task, label, "skipped", reason=f"when: {condition}")
            return self._plan(key, task, label, module, variables)
        except NeedsLook:
            return None
        except (KnownAfterChange, FactUnknown, TemplateProblem, Refused, Unknown) as error:
            return self._not_planned(task, key, label, error)

    def _plan(
        self,
        key: StepKey,
        task: Task,
        label: str,
        module: Module[Any],
        variables: Mapping[str, Any],
    ) -> PlannedStep | None:
        delegate = delegate_of(self.subject, task, variables)
        args = arguments_of(task, module, variables)
        if getattr(args, "read_only", False) and self.pending_since:
            raise KnownAfterChange(f"looks at the host after '{self.pending_since}'")
        context = context_of(self.subject, task, variables)
        probes = tuple(
            replace(probe, become=context.become, user=context.user)
            for probe in module.probes(args, context)
        )
        check_not_exposed(task, probes)
        objects = tuple(module.cluster_probes(args, context))
        node = module.wants_cluster(args)
        if delegate and (node or objects):
            raise Refused(f"delegate_to: {task.module} acts on the host's node in the cluster")
        if self._missing(node, probes, objects, delegate):
            return None
        try:
            states = self._states(node, (*probes, *objects), delegate)
            outcome = answer(task, module, args, states, context)
            check_not_exposed(task, (), outcome.changes)
            outcome = self._outcome(key, task, variables, outcome)
        except (Refused, Unknown) as error:
            tries = self.tries.get(key, 1)
            step = once_more(key, task, label, variables, probes, error, tries)
            return replace(step, delegate=delegate)
        if not outcome.changes and not reached(task, variables, outcome.result):
            tries = self.tries.get(key, 1)
            step = once_more(key, task, label, variables, probes, None, tries)
            return replace(step, delegate=delegate)
        play = self.subject.play
        step = step_of(play, key, task, label, module, args, context, probes, outcome)
        judges = task.failed_when or task.changed_when or task.until
        step = replace(step, variables=variables if judges else {})
        return delegated(step, delegate) if delegate else step

    def _outcome(
        self, key: StepKey, task: Task, variables: Mapping[str, Any], outcome: Outcome
    ) -> Outcome:
        """What was looked at, as the task's own conditions see it."""
        if outcome.changes:
            return outcome
        tries = {"attempts": self.tries.get(key, 1)} if most_tries(task) > 1 else {}
        return replace(outcome, result=judged(task, variables, {**outcome.result, **tries}))

    def _missing(
        self,
        node: bool,
        probes: Sequence[Probe],
        objects: Sequence[ClusterProbe],
        delegate: str,
    ) -> bool:
        keys = {seen_as(probe.key, delegate): probe for probe in probes}
        missing = {key: probe for key, probe in keys.items() if key not in self.view}
        if missing and delegate:
            self.needs.delegated.setdefault(delegate, {}).update(missing)
        else:
            self.needs.probes.update(missing)
        unseen = {p.key: p for p in objects if p.key not in self.view}
        self.needs.objects.update(unseen)
        if node and NODE not in self.view:
            self.needs.cluster = True
            return True
        return bool(missing or unseen)

    def _states(
        self, node: bool, probes: Sequence[Probe | ClusterProbe], delegate: str
    ) -> dict[str, Any]:
        keys = [p.key for p in probes] + ([NODE] if node else [])
        states = {key: self.view[seen_as(key, delegate)] for key in keys}
        for state in states.values():
            if isinstance(state, Unknown):
                raise state
        return states

    def variables(self, task: Task) -> dict[str, Any]:
        play = self.subject.play
        facts = Facts(self.view, self.needs, play.become, play.become_user or "root")
        return variables_of(self.subject, task, self.kept, facts)

    def _not_planned(self, task: Task, key: StepKey, label: str, error: Exception) -> PlannedStep:
        if isinstance(error, KnownAfterChange):
            return self._later(task, key, label, str(error))
        problem = error.problem if isinstance(error, TemplateProblem) else error
        reason = str(problem)
        if self.uncertain_since and not isinstance(error, TemplateProblem):
            why = f"known after '{self.uncertain_since}'; as things are: {reason}"
            return self._later(task, key, label, why)
        result = failure(reason, getattr(error, "result", {}))
        if task.ignore_errors:
            messages = (f"ignored: {reason}",)
            return PlannedStep(key, task, label, "ok", messages=messages, result=result)
        return PlannedStep(key, task, label, problem_status(error), reason=reason, result=result)

    def _later(self, task: Task, key: StepKey, label: str, why: str) -> PlannedStep:
        return step_for_later(self.subject.play, task, key, label, why)

    def _account(self, step: PlannedStep) -> None:
        """Let later tasks see what this one would leave behind."""
        self._notify(step)
        for change in step.changes:
            overlay = {seen_as(key, step.delegate): s for key, s in change.overlay.items()}
            self.view.update(overlay)
        if step.looks or step.status not in PENDING_STATUSES:
            return
        self.pending_since = self.pending_since or step.label
        # What a boot brings, such as another driver, is seen after it.
        if step.status != "change" or not all(c.predictable for c in step.changes) or reboots(step):
            self.uncertain_since = self.uncertain_since or step.label

    def _notify(self, step: PlannedStep) -> None:
        task = step.task
        if step.status in ("deferred", "conditional"):
            self.maybe_notified |= set(step.notify)
        elif step.status == "change" and task.changed_when:
            if task.changed_when != ("false",):
                self.maybe_notified |= set(task.notify)
        elif step.status == "change" or result_of(step, self.done)["changed"]:
            self.notified |= set(task.notify)
