"""`--tags` and `--skip-tags`: which tasks of a playbook a run is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from runner.errors import InputError, Problem
from runner.playbook.document import Play, Playbook, Task
from runner.playbook.keywords import similar

_WORDS = frozenset({"all", "always", "never", "tagged", "untagged"})
"""Names with a meaning of their own, as in Ansible."""


def select_tags(playbook: Playbook, tags: Sequence[str], skip: Sequence[str]) -> Playbook:
    """The playbook with the tasks that were asked for.

    The rules are Ansible's: `always` runs unless it is skipped, `never` only when one of the
    task's tags is asked for. Handlers run when notified, whatever their tags. Preconditions and
    verify are what makes a change safe: `--tags` does not narrow them, only `--skip-tags` does.

    Args:
        tags: names wanted, single or separated by commas; none: all.
        skip: names not wanted, likewise.

    Raises:
        InputError: a name that no task has; the message lists those that exist.
    """
    wanted, unwanted = _names(tags), _names(skip)
    _check(playbook, wanted, "--tags")
    _check(playbook, unwanted, "--skip-tags")
    wanted = wanted or {"all"}
    return replace(playbook, plays=tuple(_play(p, wanted, unwanted) for p in playbook.plays))


def existing(playbook: Playbook) -> list[str]:
    """The tags the tasks of the playbook have."""
    return sorted({tag for play in playbook.plays for task in _tasks(play) for tag in task.tags})


def _tasks(play: Play) -> Iterable[Task]:
    return (*play.preconditions, *play.tasks, *play.handlers, *play.verify)


def _names(given: Sequence[str]) -> set[str]:
    return {name.strip() for text in given for name in text.split(",") if name.strip()}


def _check(playbook: Playbook, names: set[str], option: str) -> None:
    known = existing(playbook)
    have = f"The playbook's tags: {', '.join(known)}." if known else "Its tasks have no tags."
    problems = [
        Problem(
            f"{option} {name}: no task of {playbook.path} has this tag",
            None,
            f"{similar(name, known)} {have}".strip(),
        )
        for name in sorted(names - _WORDS - set(known))
    ]
    if problems:
        raise InputError(problems)


def _play(play: Play, wanted: set[str], unwanted: set[str]) -> Play:
    everything = wanted | {"all"}
    return replace(
        play,
        preconditions=_chosen(play.preconditions, everything, unwanted),
        tasks=_chosen(play.tasks, wanted, unwanted),
        verify=_chosen(play.verify, everything, unwanted),
    )


def _chosen(tasks: Sequence[Task], wanted: set[str], unwanted: set[str]) -> tuple[Task, ...]:
    return tuple(t for t in tasks if _is_wanted(t, wanted) and not _is_unwanted(t, unwanted))


def _is_wanted(task: Task, wanted: set[str]) -> bool:
    tags = set(task.tags) or {"untagged"}
    if "always" in tags or tags & wanted:
        return True
    return "never" not in tags and ("all" in wanted or ("tagged" in wanted and bool(task.tags)))


def _is_unwanted(task: Task, unwanted: set[str]) -> bool:
    tags = set(task.tags) or {"untagged"}
    if tags & unwanted or ("tagged" in unwanted and task.tags):
        return True
    return "all" in unwanted and "always" not in tags
