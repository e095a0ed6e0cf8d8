"""Marks on a host for handlers that were notified and have not run yet.

A run that is killed between a changed file and the restart it calls for must not leave the next
run believing that all is well. The mark is made in the same exec as the change and removed in the
same exec as the handler; it lies in a folder that a reboot empties, as a reboot restarts the
services too. It is made and removed with the privilege of the play, whatever that of the task is:
else the probe would look for it in another folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from runner.hosts.script import Command, Result
from runner.modules.base import Probe, Unknown
from runner.playbook.document import Play

PENDING = "gpurun:pending"
_FOLDER = 'd=/run/gpurun/pending; [ "$(id -u)" = 0 ] || d="$HOME/.cache/gpurun/pending"; '


def handler_mark(play: Play, handler: str) -> str:
    """File name of a handler's mark: the same from whatever folder the playbook is run."""
    text = f"{PurePath(play.origin.file).name}\0{play.name}\0{handler}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def pending_probe(play: Play) -> Probe:
    """Reads the marks of a host as a set of names."""
    user = play.become_user or "root"
    shell = _FOLDER + '[ ! -d "$d" ] || ls "$d"'
    return Probe(PENDING, shell, _parse, become=play.become, user=user)


def _parse(result: Result) -> frozenset[str]:
    if result.rc != 0:
        raise Unknown(f"the marks of pending handlers cannot be read: {result.error_text}")
    return frozenset(result.text.split())


def unnotified(
    play: Play, handlers: tuple[str, ...], notified: set[str], owed: frozenset[str]
) -> list[str]:
    """The handlers that nothing else calls for.

    Args:
        notified: by other steps.
        owed: marks that an earlier run left.
    """
    return [h for h in handlers if h not in notified and handler_mark(play, h) not in owed]


def owed_marks(observed: Mapping[str, Any]) -> frozenset[str]:
    """The marks that were there when the host was looked at."""
    marks = observed.get(PENDING)
    return marks if isinstance(marks, frozenset) else frozenset()


def mark(play: Play, handlers: tuple[str, ...], key: str) -> Command:
    """Makes the marks of the handlers a change notifies."""
    names = " ".join(handler_mark(play, handler) for handler in handlers)
    shell = _FOLDER + f'umask 077; mkdir -p "$d" && cd "$d" && touch {names}'
    return _command(play, f"{key}/mark", shell)


def unmark(play: Play, handler: str, key: str) -> Command:
    """Removes the mark of a handler that has run."""
    shell = _FOLDER + f'rm -f "$d"/{handler_mark(play, handler)}'
    return _command(play, f"{key}/unmark", shell)


def _command(play: Play, key: str, shell: str) -> Command:
    user = play.become_user or "root"
    return Command(key, shell, become=play.become, user=user, brief=True)
