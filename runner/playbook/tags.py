"""`--tags` and `--skip-tags`: which tasks of a playbook a run is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.errors import InputError, Problem
from runner.playbook.document import Included, Play, Playbook, Task
from runner.playbook.keywords import similar

_WORDS = frozenset({"all", "always", "never", "tagged", "untagged"})
"""Names with a meaning of their own, as in Ansible."""


def select_tags(playbook: Playbook, tags: Sequence[str], skip: Sequence[str]) -> Playbook:
    """The playbook with the tasks that were asked for.

    The rules are Ansible's: `always` runs unless it is skipped, `never` only when one of the
    task's tags is asked for. Handlers run when notified, whatever their tags. Preconditions and
    verify are what makes a change safe: `--tags` does not narrow them, only `--skip-tags` does.
    A play of which `--tags` leaves no task is left out as a whole.

    Args:
        tags: names wanted, single or separated by commas; none: all.
        skip: names not wanted, likewise.

    Raises:
        InputError: a name that no task has; the message lists those that exist.
    """
    wanted, unwanted = _names(tags), _names(skip)
    _check(playbook, wanted, "--tags")
    _check(playbook, unwanted, "--skip-tags")
    plays = [(play, _play(play, wanted or {"all"}, unwanted)) for play in playbook.plays]
    left = [chosen for play, chosen in plays if chosen.tasks or not (wanted and play.tasks)]
    return replace(playbook, plays=tuple(left))


def existing(playbook: Playbook) -> list[str]:
    """The tags the tasks of the playbook have."""
    tasks = [task for play in playbook.plays for task in play.every_task]
    parts: list[Task | Included] = [*tasks]
    parts += [part for task in tasks for part in task.included]
    lists = [tags for part in parts for tags in (part.tags, *part.include_tags)]
    return sorted({tag for tags in lists for tag in tags})


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
    return tuple(
        replace(
            task,
            included=tuple(part for part in task.included if _is_chosen(part, wanted, unwanted)),
        )
        for task in tasks
        if _is_chosen(task, wanted, unwanted)
    )


def _is_chosen(what: Task | Included, wanted: set[str], unwanted: set[str]) -> bool:
    """By its own tags, and by those of every include around it."""
    return all(
        _is_wanted(tags, wanted) and not _is_unwanted(tags, unwanted)
        for tags in (what.tags, *what.include_tags)
    )


def _is_wanted(of_task: tuple[str, ...], wanted: set[str]) -> bool:
    tags = set(of_task) or {"untagged"}
    if "always" in tags or tags & wanted:
        return True
    return "never" not in tags and ("all" in wanted or ("tagged" in wanted and bool(of_task)))


def _is_unwanted(of_task: tuple[str, ...], unwanted: set[str]) -> bool:
    tags = set(of_task) or {"untagged"}
    if tags & unwanted or ("tagged" in unwanted and of_task):
        return True
    return "all" in unwanted and "always" not in tags
