"""Secrets of a run: read before a host is spoken to, and kept out of what a host shows to all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.engine.files import reader
from runner.errors import InputError, Problem
from runner.hosts.script import Command
from runner.inventory.model import Host
from runner.modules.base import Change, Probe, Reboot, Refused
from runner.playbook.document import Play, Task
from runner.playbook.templates import condition_names, names
from runner.playbook.unread import needed, unread_in
from runner.secrets.redact import KNOWN
from runner.secrets.value import SecretError, Unread


def read_secrets(
    plays: Iterable[tuple[Play, Sequence[Host]]],
    extra: Mapping[str, Any],
    folder: Path,
    everyone: Mapping[str, Host],
) -> None:
    """Read every secret that the plays name, and the sudo passwords of their hosts.

    Args:
        extra: the run's `-e` settings.
        folder: of the playbook, where its templates are.
        everyone: the hosts of the inventory, which tasks may be delegated to.

    Raises:
        InputError: with every secret that cannot be read.
    """
    wanted: dict[int, Unread] = {}
    for play, hosts in plays:
        tasks = play.every_task
        spoken_to = [*hosts, *(everyone[t.delegate_to] for t in tasks if t.delegate_to in everyone)]
        passwords = [host.become_password for host in spoken_to]
        found = (*_of_play(play, tasks, hosts, extra, folder), *unread_in(passwords))
        wanted |= {id(secret): secret for secret in found}
    problems: dict[Problem, None] = {}
    for secret in wanted.values():
        try:
            secret.read()
        except SecretError as error:
            problems[error.problem] = None
    if problems:
        raise InputError(list(problems))


def _of_play(
    play: Play,
    tasks: Sequence[Task],
    hosts: Sequence[Host],
    extra: Mapping[str, Any],
    folder: Path,
) -> Iterator[Unread]:
    written = [(t.arguments, t.loop, t.environment) for t in tasks]
    yield from unread_in([list(written), play.environment])
    wanted = names([list(written), play.environment])
    own: dict[str, Any] = {}
    for task in tasks:
        wanted |= _conditions(task) | _template_file(task, folder)
        own |= task.variables
    for host in hosts:
        yield from needed(wanted, {**host.variables, **play.variables, **own, **extra})


def _conditions(task: Task) -> set[str]:
    conditions = [*task.when, *task.failed_when, *task.changed_when, *task.until]
    if task.module == "assert":
        that = task.arguments.get("that", [])
        conditions += [str(c) for c in (that if isinstance(that, list) else [that])]
    return {name for condition in conditions for name in condition_names(condition)}


def _template_file(task: Task, folder: Path) -> set[str]:
    """Names in the file of a `template` task, where it can be told and read already."""
    source = task.arguments.get("src")
    if task.module != "template" or not isinstance(source, str):
        return set()
    try:
        return names(reader(folder)(source).decode("utf-8", "replace"))
    except Refused:
        return set()


def check_not_exposed(task: Task, probes: Iterable[Probe], changes: Iterable[Change] = ()) -> None:
    """Refuse commands whose text holds a secret: the programs they start would show it.

    Raises:
        Refused: naming the secret and the place for it.
    """
    texts = [probe.shell for probe in probes]
    for change in changes:
        texts.append(change.guard)
        asked = [do.power_cycle if isinstance(do, Reboot) else do for do in change.do]
        texts += [do.shell for do in (*asked, *change.undo) if isinstance(do, Command)]
    # What the playbook itself says in plain text is no secret there.
    written = KNOWN.all_in(str(dict(task.arguments)))
    exposed = {secret for text in texts for secret in KNOWN.all_in(text)} - written
    if exposed:
        raise Refused(
            f"{task.origin}: {min(exposed)} would stand in the text of a command, and every user "
            "of the host could see it in ps; give it in the task's environment (NAME: value, and "
            "$NAME in a shell task) or in stdin"
        )


def check_arguments(extra: Sequence[str]) -> None:
    """Refuse secrets on the command line: ps shows it, and the journal keeps it.

    Args:
        extra: each `-e` as it was given.

    Raises:
        InputError: with each that holds a secret.
    """
    hint = "Give it as -e @FILE, or as !secret {env: NAME} in the inventory."
    found = [(text, KNOWN.found_in(text)) for text in extra]
    problems = [
        Problem(f"-e {KNOWN(text)}: {secret} is on the command line, which ps shows", hint=hint)
        for text, secret in found
        if secret
    ]
    if problems:
        raise InputError(problems)
