"""Planning: a pure walk over a play with what was observed of one host.

`plan_host` is called until it needs nothing more: each call either returns a complete plan or
says what has to be read first, everything at once. The same walk serves a dry run and an apply;
there is no other place that decides what a task does.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runner.engine.files import reader
from runner.engine.labels import concealed, step_label
from runner.engine.pending import PENDING, handler_mark, pending_probe
from runner.engine.planning import (
    PROBLEMS,
    Done,
    HostPlan,
    Needs,
    PlannedStep,
    Section,
    Status,
    StepKey,
)
from runner.engine.variables import (
    Facts,
    FactUnknown,
    KnownAfterChange,
    Later,
    NeedsLook,
    with_included,
)
from runner.inventory.model import Host
from runner.kube.state import NODE
from runner.modules.base import (
    ClusterProbe,
    Context,
    Disruption,
    Module,
    Outcome,
    Refused,
    Risk,
    Unknown,
)
from runner.modules.registry import load_module
from runner.playbook.document import Map, Play, Task
from runner.playbook.loops import items_of, rounds
from runner.playbook.templates import NotYetKnown, TemplateProblem, holds, render, render_text


@dataclass(frozen=True, slots=True)
class Subject:
    """One host of one play, with all that a plan of it depends on beside the observation.

    `extra` are the run's `-e` settings; `groups` the inventory's groups with their hosts.
    """

    host: Host
    play: Play
    playbook: Path
    extra: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


def plan_host(
    subject: Subject, observed: Mapping[str, Any], done: Mapping[StepKey, Done] | None = None
) -> HostPlan | Needs:
    """The plan for one host, or what must be read before there can be one.

    Args:
        observed: probe key -> parsed state, or the `Unknown` its parser raised.
        done: what steps already applied left behind; those are not planned again.
    """
    walk = _Walk(subject, ChainMap({}, dict(observed)), done or {})
    steps = tuple(walk.run())
    return walk.needs or HostPlan(subject.host, subject.play, steps)


def plan_verify(
    subject: Subject, observed: Mapping[str, Any], registered: Mapping[str, Any] | None = None
) -> HostPlan | Needs:
    """The play's `verify` tasks against the host as it is now.

    Args:
        registered: what the play's tasks registered.
    """
    walk = _Walk(subject, ChainMap({}, dict(observed)), {})
    walk.registered.update(registered or {})
    steps = tuple(walk.section("verify", subject.play.verify))
    return walk.needs or HostPlan(subject.host, subject.play, steps)


def failed_condition(
    step: PlannedStep, registered: Mapping[str, Any], result: Mapping[str, Any]
) -> str:
    """The `failed_when` condition that an executed step's result fulfils, or "".

    `registered`: results known since the step was planned. Refused: it cannot be judged.
    """
    task = step.task
    own = {task.register: result} if task.register else {}
    variables = {**step.variables, **registered, **own}
    try:
        return next((c for c in task.failed_when if holds(c, variables, task.origin)), "")
    except (NotYetKnown, TemplateProblem) as error:
        raise Refused(f"failed_when cannot be judged: {error}") from None


def registered_after(
    subject: Subject, plan: HostPlan, done: Mapping[StepKey, Done]
) -> dict[str, Any]:
    """What `register` holds once the steps in `done` are applied."""
    walk = _Walk(subject, ChainMap({}), done)
    steps_of: dict[tuple[Section, int], list[PlannedStep]] = {}
    for step in plan.steps:
        steps_of.setdefault((step.key.section, step.key.index), []).append(step)
    for steps in steps_of.values():
        walk.register(steps[0].task, steps)
    return walk.registered


class _Walk:
    """One walk over a play. Its state is what earlier tasks leave for later ones."""

    def __init__(
        self, subject: Subject, view: MutableMapping[str, Any], done: Mapping[StepKey, Done]
    ) -> None:
        self.subject = subject
        self.view = view
        self.done = done
        self.needs = Needs()
        self.registered: dict[str, Any] = {}
        self.notified: set[str] = set()
        self.maybe_notified: set[str] = set()
        self.pending_since = ""
        """Label of the first step that would change the host: looks after it have to wait."""
        self.uncertain_since = ""
        """Label of the first pending task whose effect cannot be known."""
        self.stopped = False

    def run(self) -> Iterator[PlannedStep]:
        play = self.subject.play
        if play.handlers:
            self._find_pending_handlers(play)
        yield from self.section("preconditions", play.preconditions)
        yield from self.section("tasks", play.tasks)
        yield from self.section("handlers", play.handlers)

    def _find_pending_handlers(self, play: Play) -> None:
        """Handlers that an interrupted run still owes this host."""
        if PENDING not in self.view:
            self.needs.probes[PENDING] = pending_probe(play.become)
            return
        marks = self.view[PENDING]
        if isinstance(marks, Unknown):
            return
        owed = {h.name for h in play.handlers if handler_mark(play, h.name) in marks}
        self.notified |= owed

    def section(self, section: Section, tasks: Sequence[Task]) -> Iterator[PlannedStep]:
        for index, task in enumerate(tasks):
            if self.stopped:
                return
            if section == "handlers" and task.name not in self.notified:
                if task.name in self.maybe_notified:
                    key = StepKey(section, index)
                    yield self._deferred(task, key, task.name, "runs if it is notified")
                continue
            yield from self._task(section, index, task)

    def _task(self, section: Section, index: int, task: Task) -> Iterator[PlannedStep]:
        steps = []
        for item, variables, problem in self._items(section, index, task):
            step = problem or self._item(StepKey(section, index, item), task, variables)
            if step is None:
                continue
            step = concealed(step, variables)
            steps.append(step)
            self._account(step)
            yield step
            if step.status in PROBLEMS:
                self.stopped = True
                return
        self.register(task, steps)

    def _items(
        self, section: Section, index: int, task: Task
    ) -> Iterator[tuple[int, Mapping[str, Any], PlannedStep | None]]:
        key = StepKey(section, index)
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
            yield number, {**variables, **added}, None

    def _item(self, key: StepKey, task: Task, variables: Mapping[str, Any]) -> PlannedStep | None:
        label = step_label(task, variables)
        if key in self.done:
            return PlannedStep(key, task, label, "ok")
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
        arguments: Mapping[str, Any] = task.arguments
        if task.module == "assert":
            arguments = self._evaluated(task, variables)
        args = _validated(task, module, render(arguments, variables, task.origin))
        if getattr(args, "read_only", False) and self.pending_since:
            raise KnownAfterChange(f"looks at the host after '{self.pending_since}'")
        context = self._context(task, variables)
        probes = tuple(
            replace(probe, become=context.become) for probe in module.probes(args, context)
        )
        objects = tuple(module.cluster_probes(args, context))
        if self._missing(module, probes, objects):
            return None
        states = self._states(module, (*probes, *objects))
        outcome = module.plan(args, states, context)
        self._check_failed_when(task, variables, outcome)
        step = _step(self.subject.play, key, task, label, module, args, context, probes, outcome)
        return replace(step, variables=variables if task.failed_when else {})

    def _evaluated(self, task: Task, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """`assert` with its conditions evaluated: it takes the expressions that do not hold."""
        that = task.arguments.get("that", [])
        conditions = [that] if isinstance(that, str | bool) else list(that)
        failed = [str(c) for c in conditions if not holds(str(c), variables, task.origin)]
        return Map({**task.arguments, "that": failed}, task.arguments.origin)

    def _missing(
        self, module: Module[Any], probes: Sequence[Any], objects: Sequence[ClusterProbe]
    ) -> bool:
        missing = {p.key: p for p in probes if p.key not in self.view}
        self.needs.probes.update(missing)
        unseen = {p.key: p for p in objects if p.key not in self.view}
        self.needs.objects.update(unseen)
        if module.needs_cluster and NODE not in self.view:
            self.needs.cluster = True
            return True
        return bool(missing or unseen)

    def _states(self, module: Module[Any], probes: Sequence[Any]) -> dict[str, Any]:
        keys = [p.key for p in probes] + ([NODE] if module.needs_cluster else [])
        states = {key: self.view[key] for key in keys}
        for state in states.values():
            if isinstance(state, Unknown):
                raise state
        return states

    def _check_failed_when(
        self, task: Task, variables: Mapping[str, Any], outcome: Outcome
    ) -> None:
        if not task.failed_when or outcome.changes:
            return
        known = {**variables, **({task.register: outcome.result} if task.register else {})}
        for condition in task.failed_when:
            if holds(condition, known, task.origin):
                raise Refused(f"failed_when: {condition}")

    def _context(self, task: Task, variables: Mapping[str, Any]) -> Context:
        play = self.subject.play
        environment = render(Map({**play.environment, **task.environment}), variables, task.origin)
        folder = self.subject.playbook.parent
        return Context(
            host=self.subject.host.name,
            folder=str(folder),
            read=reader(folder, task.folders, task.module),
            template=lambda text, name: render_text(text, variables, task.origin, name),
            notified=True,
            timeout=task.timeout,
            become=play.become if task.become is None else task.become,
            environment={str(k): str(v) for k, v in environment.items()},
        )

    def variables(self, task: Task) -> dict[str, Any]:
        host, play = self.subject.host, self.subject.play
        below = {
            **play.defaults,
            **task.defaults,
            **host.variables,
            **play.variables,
            **task.variables,
        }
        above = {**self.registered, **task.parameters, **self.subject.extra}
        always = {
            "inventory_hostname": host.name,
            "kubernetes_node": host.node_name,
            "group_names": list(host.groups),
            "groups": {name: list(hosts) for name, hosts in self.subject.groups.items()},
            "playbook_dir": str(self.subject.playbook.parent.absolute()),
            "facts": Facts(self.view, self.needs, play.become),
        }
        return with_included(task, below, {**above, **always})

    def _not_planned(self, task: Task, key: StepKey, label: str, error: Exception) -> PlannedStep:
        if isinstance(error, KnownAfterChange):
            return self._deferred(task, key, label, str(error))
        problem = error.problem if isinstance(error, TemplateProblem) else error
        reason = str(problem)
        if self.uncertain_since and not isinstance(error, TemplateProblem):
            why = f"known after '{self.uncertain_since}'; as things are: {reason}"
            return self._deferred(task, key, label, why)
        if task.ignore_errors:
            return PlannedStep(key, task, label, "ok", messages=(f"ignored: {reason}",))
        return PlannedStep(key, task, label, _problem_status(error), reason=reason)

    def _deferred(self, task: Task, key: StepKey, label: str, why: str) -> PlannedStep:
        module = load_module(task.module)
        if module.changes_nothing or task.arguments.get("read_only") is True:
            return PlannedStep(key, task, label, "deferred", reason=why, looks=True)
        return PlannedStep(
            key,
            task,
            label,
            "deferred",
            reason=why,
            risk=task.risk or max(module.risk, self.subject.play.risk or Risk.LOW),
            disruption=module.disruption if task.disruption is None else task.disruption,
            notify=task.notify,
        )

    def _account(self, step: PlannedStep) -> None:
        """Let later tasks see what this one would leave behind."""
        done = self.done.get(step.key)
        if step.status == "change" or (done and done.changed):
            self.notified |= set(step.task.notify)
        elif step.status == "deferred":
            self.maybe_notified |= set(step.notify)
        for change in step.changes:
            self.view.update(change.overlay)
        if step.looks or step.status not in ("change", "deferred"):
            return
        self.pending_since = self.pending_since or step.label
        if step.status == "deferred" or any(not c.predictable for c in step.changes):
            self.uncertain_since = self.uncertain_since or step.label

    def register(self, task: Task, steps: Sequence[PlannedStep]) -> None:
        if not task.register:
            return
        results = [self._result(task, step) for step in steps]
        if task.loop is not None:
            changed = any(_changed(result) for result in results)
            self.registered[task.register] = {"results": results, "changed": changed}
        elif results:
            self.registered[task.register] = results[0]
        else:
            self.registered[task.register] = Later(task.register, {})

    def _result(self, task: Task, step: PlannedStep) -> Mapping[str, Any]:
        if step.key in self.done:
            return self.done[step.key].result
        if step.status == "skipped":
            return {"skipped": True, "changed": False}
        if step.status == "deferred":
            return Later(task.register, {})
        if step.status == "change":
            return Later(task.register, {"changed": True, "skipped": False})
        return {"changed": False, "skipped": False, **step.result}


def _problem_status(error: Exception) -> Status:
    if isinstance(error, TemplateProblem):
        return "failed"
    return "unknown" if isinstance(error, Unknown | FactUnknown) else "refused"


def _changed(result: Mapping[str, Any]) -> bool:
    try:
        return bool(result["changed"])
    except KnownAfterChange:
        return True


def _validated(task: Task, module: Module[Any], rendered: Mapping[str, Any]) -> Any:
    try:
        return module.arguments.model_validate(dict(rendered))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = task.arguments.where(str(first["loc"][0])) if first["loc"] else task.origin
        raise Refused(f"{where or task.origin}: {task.module}.{name}: {first['msg']}") from None


def _step(
    play: Play,
    key: StepKey,
    task: Task,
    label: str,
    module: Module[Any],
    args: Any,
    context: Context,
    probes: tuple[Any, ...],
    outcome: Outcome,
) -> PlannedStep:
    changes = tuple(_weighed(change, task, play) for change in outcome.changes)
    return PlannedStep(
        key,
        task,
        label,
        "change" if changes else "ok",
        changes=changes,
        waits=outcome.waits,
        messages=outcome.messages,
        module=module,
        args=args,
        context=context,
        probes=probes,
        risk=max((c.risk for c in changes), default=Risk.LOW),
        disruption=max((c.disruption for c in changes), default=Disruption.NONE),
        notify=task.notify,
        result=outcome.result,
    )


def _weighed(change: Any, task: Task, play: Play) -> Any:
    """The change with the risk and disruption that the playbook gives it."""
    risk = task.risk or max(change.risk, play.risk or Risk.LOW)
    disruption = change.disruption if task.disruption is None else task.disruption
    return replace(change, risk=risk, disruption=disruption)
