"""Planning one task, or one item of its loop, with what is known when its turn comes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runner.engine.asking import answer, arguments_of, context_of
from runner.engine.delegates import delegate_of
from runner.engine.known import Known
from runner.engine.planning import PlannedStep, StepKey
from runner.engine.results import failure, judged, most_tries, reached
from runner.engine.secrets import check_not_exposed
from runner.engine.steps import (
    delegated,
    label_of,
    name_of,
    once_more,
    problem_status,
    step_for_later,
    step_of,
)
from runner.engine.variables import FactUnknown, KnownAfterChange, NeedsLook
from runner.modules.base import Module, Outcome, Refused, Unknown
from runner.modules.registry import load_module
from runner.playbook.document import BlockPart, Task
from runner.playbook.templates import NotYetKnown, TemplateProblem, holds


def plan_step(
    known: Known, key: StepKey, task: Task, variables: Mapping[str, Any]
) -> PlannedStep | None:
    """The step, or None while something that it looks at has yet to be read (`known.needs`)."""
    label = label_of(task, variables)
    if key in known.progress.done:
        done = known.progress.done[key]
        why = str(done.result.get("msg", "")) if done.failed else ""
        return PlannedStep(key, task, label, "ok", reason=why, fails=done.failed)
    module = load_module(task.module)
    try:
        for condition in task.when:
            if not holds(condition, variables, task.origin):
                return PlannedStep(key, task, label, "skipped", reason=f"when: {condition}")
        return _plan(known, key, task, label, module, variables)
    except NeedsLook:
        return None
    except (KnownAfterChange, FactUnknown, TemplateProblem, Refused, Unknown) as error:
        return not_planned(known, task, key, label, error)


def _plan(
    known: Known,
    key: StepKey,
    task: Task,
    label: str,
    module: Module[Any],
    variables: Mapping[str, Any],
) -> PlannedStep | None:
    delegate = delegate_of(known.subject, task, variables)
    args = arguments_of(task, module, variables)
    if getattr(args, "read_only", False) and known.pending_since:
        raise KnownAfterChange(f"looks at the host after '{known.pending_since}'")
    context = context_of(known.subject, task, variables)
    probes = tuple(
        replace(probe, become=context.become, user=context.user)
        for probe in module.probes(args, context)
    )
    check_not_exposed(task, probes)
    objects = tuple(module.cluster_probes(args, context))
    node = module.wants_cluster(args)
    if delegate and (node or objects):
        raise Refused(f"delegate_to: {task.module} acts on the host's node in the cluster")
    if known.missing(node, probes, objects, delegate):
        return None
    try:
        states = known.states(node, (*probes, *objects), delegate)
        outcome = answer(task, module, args, states, context)
        check_not_exposed(task, (), outcome.changes)
        outcome = _outcome(known, key, task, variables, outcome)
    except (Refused, Unknown) as error:
        tries = known.progress.tries.get(key, 1)
        step = once_more(key, task, label, variables, probes, error, tries)
        return replace(step, delegate=delegate)
    if not outcome.changes and not reached(task, variables, outcome.result):
        tries = known.progress.tries.get(key, 1)
        step = once_more(key, task, label, variables, probes, None, tries)
        return replace(step, delegate=delegate)
    play = known.subject.play
    step = step_of(play, key, task, label, module, args, context, probes, outcome)
    judges = task.failed_when or task.changed_when or task.until
    step = replace(step, variables=variables if judges else {})
    return delegated(step, delegate) if delegate else step


def _outcome(
    known: Known, key: StepKey, task: Task, variables: Mapping[str, Any], outcome: Outcome
) -> Outcome:
    """What was looked at, as the task's own conditions see it."""
    if outcome.changes:
        return outcome
    tries = {"attempts": known.progress.tries.get(key, 1)} if most_tries(task) > 1 else {}
    return replace(outcome, result=judged(task, variables, {**outcome.result, **tries}))


def conditional(known: Known, key: StepKey, task: Task, part: BlockPart) -> PlannedStep:
    """A task that is only done if its block fails: what it would meet then is not known."""
    why = f"only if '{part.name}' fails"
    unknown = KnownAfterChange(why)
    known.kept |= {"ansible_failed_task": unknown, "ansible_failed_result": unknown}
    label = task.name
    try:
        variables = known.variables(task)
        label = label if task.no_log else name_of(task, variables)
        for condition in task.when:
            if not holds(condition, variables, task.origin):
                return PlannedStep(key, task, label, "skipped", reason=f"when: {condition}")
    except (NotYetKnown, TemplateProblem):
        pass  # judged when it is due
    return step_for_later(known.subject.play, task, key, label, why, "conditional")


def not_planned(
    known: Known, task: Task, key: StepKey, label: str, error: Exception
) -> PlannedStep:
    """The step of a task that cannot be planned, and what that means."""
    if isinstance(error, KnownAfterChange):
        return later(known, task, key, label, str(error))
    problem = error.problem if isinstance(error, TemplateProblem) else error
    reason = str(problem)
    if known.uncertain_since and not isinstance(error, TemplateProblem):
        why = f"known after '{known.uncertain_since}'; as things are: {reason}"
        return later(known, task, key, label, why)
    result = failure(reason, getattr(error, "result", {}))
    if task.ignore_errors:
        messages = (f"ignored: {reason}",)
        return PlannedStep(key, task, label, "ok", messages=messages, result=result)
    return PlannedStep(key, task, label, problem_status(error), reason=reason, result=result)


def later(known: Known, task: Task, key: StepKey, label: str, why: str) -> PlannedStep:
    """The step of a task that can only be planned when its turn comes."""
    return step_for_later(known.subject.play, task, key, label, why)
