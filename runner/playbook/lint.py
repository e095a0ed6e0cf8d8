"""What a playbook may say but should not, beyond what loading it refuses."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from runner.errors import Origin, Problem
from runner.kube.state import DrainOptions
from runner.modules.base import Refused
from runner.playbook.document import Play, Playbook, Task, TemplateText
from runner.playbook.source import read_text
from runner.playbook.surprises import surprises
from runner.playbook.templates import check
from runner.playbook.undefined import Hosts, Read, undefined
from runner.playbook.unreachable import unreachable

_BETTER = (
    (r"systemctl\s+(\S+\s+)*(start|stop|restart|reload|enable|disable|mask)\b", "service"),
    (r"service\s+\S+\s+(start|stop|restart|reload)\b", "service"),
    (r"(apt|apt-get|dpkg)\s+(-\S+\s+)*(install|remove|purge|upgrade|-i)\b", "apt"),
    (r"apt-mark\s+(un)?hold\b", "apt"),
    (r"(mkdir|chmod|chown|ln|rm|touch)\s", "file"),
    (r"(cp|tee|install)\s", "copy"),
    (r"nvidia-smi\s+(-i\s+\S+\s+)?(-mig|mig\s+(-cgi|-dgi|-dci|-cci))\b", "mig"),
    (r"(reboot|shutdown|systemctl\s+reboot)\b", "reboot"),
    (r"sed\s+(-\S+\s+)*-(i|-in-place)", "lineinfile"),
    (r"sysctl\s+(-\S+\s+)*(-w|\S+=)", "sysctl"),
    (r"modprobe\s", "modprobe"),
    (r"(curl|wget)\s.*\s-[oO]\b", "get_url"),
    (r"kubectl\s+label\s", "node_label"),
    (r"kubectl\s+taint\s", "node_taint"),
    (r"kubectl\s+rollout\s+restart\b", "daemonset_restart"),
)
_NEEDED = ("creates", "removes", "unless", "onlyif", "read_only")


_FILES = {"copy": "src", "script": "cmd", "template": "src"}
_POD_GRACE = 30
"""Seconds a pod has to end when it does not say otherwise (terminationGracePeriodSeconds)."""


def lint(
    playbook: Playbook,
    hosts_of: Callable[[Play], Hosts] | None = None,
    extra: Iterable[str] = (),
    read: Read | None = None,
) -> list[Problem]:
    """Errors that only a run would show, and advice, in the order of the file.

    Args:
        hosts_of: see `undefined`.
        extra: names given with `-e`.
        read: reads a file that a task names (`src`); raises Refused where there is none. Without
            it such files are not looked at.
    """
    advice = [problem for play in playbook.plays for problem in _play(play)]
    found = [replace(problem, level="warning") for problem in advice]
    found += [problem for play in playbook.plays for problem in _surprises(playbook, play)]
    found += undefined(playbook, hosts_of, extra, read)
    if read:
        tasks = [(play, task) for play in playbook.plays for task in play.every_task]
        found += [problem for play, task in tasks for problem in _files(play, task, read)]
    nowhere = Origin("")
    return sorted(dict.fromkeys(found), key=lambda problem: problem.origin or nowhere)


def _surprises(playbook: Playbook, play: Play) -> Iterator[Problem]:
    """Of every file the play was read from."""
    of_tasks = {str(playbook.path), *(task.origin.file for task in play.every_task)}
    of_variables = {where.file for where in play.variables.origins.values()} - of_tasks
    for file in sorted(of_tasks | of_variables):
        text, problem = read_text(Path(file))
        if not problem:
            yield from surprises(text, file, variables=file in of_variables)


def _files(play: Play, task: Task, read: Read) -> Iterator[Problem]:
    name = task.arguments.get(_FILES.get(task.module, ""))
    if not isinstance(name, str) or isinstance(name, TemplateText):
        return
    if task.module == "script":
        name = shlex.split(name)[0]
    try:
        content = read(play, task, name)
    except Refused as refused:
        yield Problem(str(refused), task.arguments.where(_FILES[task.module]) or task.origin)
        return
    if task.module == "template" and (problem := _template(content, name)):
        yield problem


def _template(content: bytes, name: str) -> Problem | None:
    """What is wrong with the text of a template file."""
    try:
        return check(content.decode("utf-8"), None, name)
    except UnicodeDecodeError as error:
        return Problem(f"is not UTF-8 text (byte {error.start})", Origin(name))


def _play(play: Play) -> Iterator[Problem]:
    everything = play.every_task
    notified = {name for task in everything for name in task.notify}
    for handler in play.handlers:
        if handler.name not in notified and not handler.role:
            yield Problem(
                f'no task notifies the handler "{handler.name}"',
                handler.origin,
                f"Add notify: {handler.name} to a task, or remove the handler.",
            )
    for task in everything:
        yield from _task(task)
    for task in play.tasks:
        yield from _command(task)
    for message, hint in _drain(play.drain):
        yield Problem(message, play.drain_origin or play.origin, hint)


def _drain(drain: DrainOptions) -> Iterator[tuple[str, str]]:
    """Settings that lose work, or that cannot end well."""
    if drain.force and drain.delete_emptydir_data:
        yield (
            "drain with force and delete_emptydir_data deletes pods and data nobody recreates",
            "Keep the one that is needed, and narrow it with pod_selector.",
        )
    elif drain.force:
        yield (
            "drain with force deletes pods without a controller: nothing starts them again",
            "Leave it out, and move those pods, or narrow it with pod_selector.",
        )
    if drain.grace_period == 0:
        yield (
            "drain with grace_period 0 kills pods without letting them end",
            "Leave it out: each pod then has its own grace period.",
        )
    if drain.disable_eviction:
        yield (
            "drain with disable_eviction deletes pods past their PodDisruptionBudgets",
            "Leave it out: evictions wait until a budget allows them.",
        )
    longest = _POD_GRACE if drain.grace_period is None else drain.grace_period
    if drain.mode != "none" and drain.timeout <= longest:
        yield (
            f"the drain's timeout of {drain.timeout:g} s is over before a pod has had its grace "
            f"period of {longest} s",
            "Give it minutes: pods are evicted one budget at a time.",
        )
    if not drain.ignore_daemonsets:
        yield (
            "drain without ignore_daemonsets fails on every node that runs a DaemonSet",
            "Leave it out: pods of DaemonSets stay, and those that use GPUs are paused.",
        )


def _task(task: Task) -> Iterator[Problem]:
    if problem := unreachable(task):
        yield problem
    if task.written and "name" not in task.written:
        yield Problem(
            f"the {task.module} task has no name", task.origin, "Say with name: what it makes true."
        )
    if task.ignore_errors:
        yield Problem(
            "ignore_errors hides every failure of the task",
            task.origin,
            "Say with failed_when: what a failure is.",
        )


def _command(task: Task) -> Iterator[Problem]:
    if task.module not in ("command", "script", "shell"):
        return
    if not any(name in task.arguments for name in _NEEDED):
        yield Problem(
            "nothing tells whether the command is needed: it runs in every apply",
            task.origin,
            f"Add one of {', '.join(_NEEDED)}.",
        )
    text = " ".join(str(value) for value in task.arguments.values() if isinstance(value, str))
    for pattern, module in _BETTER:
        if re.match(rf"\s*(sudo\s+)?{pattern}", text):
            yield Problem(
                f"the module {module} does this, and sees whether it is needed",
                task.origin,
                f"gpurun doc {module}",
            )
            return
