"""What a playbook may say but should not: advice beyond what loading it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.errors import Origin, Problem
from runner.playbook.document import Play, Playbook, Task

_BETTER = (
    (r"systemctl\s+(\S+\s+)*(start|stop|restart|reload|enable|disable|mask)\b", "service"),
    (r"service\s+\S+\s+(start|stop|restart|reload)\b", "service"),
    (r"(apt|apt-get|dpkg)\s+(-\S+\s+)*(install|remove|purge|upgrade|-i)\b", "apt"),
    (r"apt-mark\s+(un)?hold\b", "apt"),
    (r"(mkdir|chmod|chown|ln|rm|touch)\s", "file"),
    (r"(cp|tee|install)\s", "copy"),
    (r"nvidia-smi\s+(-i\s+\S+\s+)?(-mig|mig\s+(-cgi|-dgi|-dci|-cci))\b", "mig"),
    (r"(reboot|shutdown|systemctl\s+reboot)\b", "reboot"),
    (r"kubectl\s+label\s", "node_label"),
    (r"kubectl\s+taint\s", "node_taint"),
    (r"kubectl\s+rollout\s+restart\b", "daemonset_restart"),
)
_NEEDED = ("creates", "removes", "unless", "onlyif", "read_only")


def lint(playbook: Playbook) -> list[Problem]:
    """Advice on a loaded playbook, in the order of the file."""
    found = [problem for play in playbook.plays for problem in _play(play)]
    nowhere = Origin("")
    return sorted(found, key=lambda problem: problem.origin or nowhere)


def _play(play: Play) -> Iterator[Problem]:
    everything = (*play.preconditions, *play.tasks, *play.handlers, *play.verify)
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
    if play.drain.force and play.drain.delete_emptydir_data:
        yield Problem(
            "drain with force and delete_emptydir_data deletes pods and data nobody recreates",
            play.origin,
            "Keep the one that is needed, and narrow it with pod_selector.",
        )


def _task(task: Task) -> Iterator[Problem]:
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
