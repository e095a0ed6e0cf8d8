"""When a plan needs to know who holds the host's GPUs, and as whom that is looked at. Pure."""

from __future__ import annotations

from runner.engine.planning import HostPlan
from runner.facts import gpu_users
from runner.modules.base import Disruption, Probe
from runner.modules.registry import load_module
from runner.playbook.document import Play, Task


def may_disturb(plan: HostPlan, looking: bool) -> bool:
    """Whether the users of the GPUs are to be looked at for this plan.

    Args:
        looking: the host is looked at anyway: then they are seen in the same exec where a task of
            the play may disturb them, else only where one does.
    """
    if plan.disruption >= Disruption.GPU:
        return True
    return looking and any(_most(task) >= Disruption.GPU for task in _tasks(plan.play))


def users_probe(play: Play) -> Probe:
    """The look, as root where the play or one of its tasks becomes root."""
    if play.become:
        return gpu_users.probe(True, play.become_user or "root")
    becomes = any(task.become and task.become_user in ("", "root") for task in _tasks(play))
    return gpu_users.probe(becomes)


def _tasks(play: Play) -> tuple[Task, ...]:
    return (*play.preconditions, *play.tasks, *play.handlers)


def _most(task: Task) -> Disruption:
    return load_module(task.module).disruption if task.disruption is None else task.disruption
