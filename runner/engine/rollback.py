"""The way back from a run, as a playbook: its files as they were, its handlers once more. Pure.

What is planned, gated and enacted is an ordinary playbook, made of what the run has kept. Each play
that changed files becomes a play of `restore` tasks, the last change first, with the connection,
drain and rollout of the original and with its handlers. Its preconditions and `verify` are left
out: they speak of the state that is left behind.
"""

from __future__ import annotations

import base64
import json
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.engine.events import Event
from runner.engine.kept import KeptChange
from runner.errors import GpurunError
from runner.hosts.display import names
from runner.inventory.model import Inventory
from runner.modules.base import Disruption, Risk
from runner.playbook.document import Map, Play, Playbook, Task, TemplateText
from runner.playbook.source import TEMPLATE_MARK

KEPT = "gpurun_kept"
"""Variable of a host: "number of the task" -> arguments of its `restore` there."""


@dataclass(frozen=True, slots=True)
class NotUndone:
    """What a rollback leaves as the run left it, and where."""

    hosts: tuple[str, ...]
    what: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """A playbook that brings a run back, and the inventory that it is for.

    Args:
        heirs: hosts whose nodes may be taken over from the run, if it left them out of service,
            and given back: what of it stays there disrupted nothing.
    """

    playbook: Playbook
    inventory: Inventory
    not_undone: tuple[NotUndone, ...]
    heirs: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Path:
    """What a run has made of one path of a host: its first state and its last."""

    first: KeptChange
    last: KeptChange
    handlers: tuple[str, ...]

    @property
    def task(self) -> tuple[Any, ...]:
        """Hosts with the same share a task."""
        last, first = self.last, self.first
        hidden = first.hidden or last.hidden
        risk = max(first.risk, last.risk)
        disruption = max(first.disruption, last.disruption)
        login = (last.become, last.user)
        return (first.path, self.handlers, risk, disruption, *login, hidden)


def roll_back(
    run: str,
    kept: Sequence[KeptChange],
    events: Sequence[Event],
    playbook: Playbook,
    inventory: Inventory,
    *,
    force: bool = False,
) -> Rollback:
    """The playbook that brings back what `run` has changed.

    Args:
        kept: what it kept, oldest first.
        events: what happened in it.
        playbook: the run's, as it is now; its plays and handlers are looked up by name.
        force: also files that have changed since.

    Raises:
        GpurunError: the run changed no files, or a play or handler is no longer in the playbook.
    """
    not_undone = tuple(_not_undone(kept, events, inventory))
    present = [each for each in kept if each.host in inventory.hosts]
    plays: dict[tuple[str, int], list[KeptChange]] = {}
    for each in present:
        if each.path:
            plays.setdefault((each.play, each.line), []).append(each)
    variables: dict[str, dict[str, Any]] = {host: {} for host in inventory.hosts}
    held = [host for host in _left(events) if host in inventory.hosts]
    made: list[Play] = []
    for (name, line), changes in reversed(plays.items()):
        play = _original(playbook, name, line)
        made.append(_play(play, run, changes, variables, () if made else held, force))
    if not any(play.tasks for play in made):
        hint = [f"not undone: {names(each.hosts)}: {each.what}" for each in not_undone]
        hint += [f"gpurun resume {run} goes on with {', '.join(held)}"] if held else []
        raise GpurunError(
            f"run {run} changed nothing that can be brought back", "\n    ".join(hint)
        )
    hosts = {
        name: replace(host, variables={**host.variables, KEPT: variables[name]})
        for name, host in inventory.hosts.items()
    }
    told = json.dumps([_plain(each) for each in kept])
    return Rollback(
        replace(playbook, text=f"{playbook.text}\nrollback of {run}\n{told}", plays=tuple(made)),
        replace(inventory, hosts=hosts),
        not_undone,
        frozenset(inventory.hosts) - _disrupted(kept, events),
    )


def _plain(kept: KeptChange) -> list[Any]:
    return [kept.host, kept.path, dict(kept.before), dict(kept.after), kept.copy]


def _original(playbook: Playbook, name: str, line: int) -> Play:
    """The play that a run was of; where several are called so, the one on that line."""
    found = [play for play in playbook.plays if play.name == name]
    found = [play for play in found if play.origin.line == line] if len(found) > 1 else found
    if len(found) == 1:
        return found[0]
    raise GpurunError(
        f"the play '{name}' of that run is not in {playbook.path} any more",
        "its handlers are needed: bring the playbook back to what it was (git checkout)",
    )


def _play(
    play: Play,
    run: str,
    changes: Sequence[KeptChange],
    variables: Mapping[str, dict[str, Any]],
    held: Sequence[str],
    force: bool,
) -> Play:
    paths = [path for path in reversed(_paths(changes)) if not _lost(path)]
    made: dict[tuple[str, str], list[str]] = {}
    for new in (path.first for path in paths if path.first.before["kind"] == "absent"):
        made.setdefault((new.host, posixpath.dirname(new.path)), []).append(new.path)
    tasks: dict[tuple[Any, ...], str] = {}
    for path in paths:
        number = tasks.setdefault(path.task, f"{play.name}/{len(tasks)}")
        inside = made.get((path.first.host, path.first.path), ())
        variables[path.first.host][number] = _arguments(run, path, inside, force)
    _check_handlers(play, {name for path in paths for name in path.handlers})
    return replace(
        play,
        hosts=",".join(dict.fromkeys((*(each.host for each in changes), *held))),
        tasks=tuple(_task(play, number, *of) for of, number in tasks.items()),
        preconditions=(),
        verify=(),
    )


def _paths(changes: Sequence[KeptChange]) -> list[_Path]:
    """Each path once, where it was changed last. What was kept before somebody else changed the
    path in between, or before a change that was never made, is not the way back."""
    found: dict[tuple[str, str], _Path] = {}
    for each in changes:
        earlier = found.pop((each.host, each.path), None)
        if earlier is None or not _follows(earlier.last, each):
            found[each.host, each.path] = _Path(each, each, each.handlers)
        else:
            handlers = tuple(dict.fromkeys((*earlier.handlers, *each.handlers)))
            found[each.host, each.path] = _Path(earlier.first, each, handlers)
    return list(found.values())


def _follows(earlier: KeptChange, later: KeptChange) -> bool:
    """Whether the later change began with what the earlier one left, as far as that is known."""
    left, met = dict(earlier.after), dict(later.before)
    for number, name in (("uid", "owner"), ("gid", "group")):
        if left.get(number) is None:  # only planned by name
            left.pop(number, None), met.pop(number, None)
        else:
            left.pop(name, None), met.pop(name, None)
    if not (left.get("sha256") and met.get("sha256")):
        left.pop("sha256", None), met.pop("sha256", None)
    return left == met


def _lost(path: _Path) -> str:
    """Why a path cannot be brought back; "": it can."""
    if path.first.before["kind"] == "directory" and path.last.after["kind"] == "absent":
        return "a folder that was removed with all in it"
    return path.first.lost


def _arguments(run: str, path: _Path, made: Sequence[str], force: bool) -> dict[str, Any]:
    content = path.first.content
    return {
        "path": path.first.path,
        "run": run,
        "before": dict(path.first.before),
        "after": dict(path.last.after),
        "content": None if content is None else base64.b64encode(content).decode(),
        "copy_before": path.first.copy,
        "copy_after": path.last.copy,
        "made": list(made),
        "force": force,
    }


def _check_handlers(play: Play, wanted: set[str]) -> None:
    missing = sorted(wanted - {handler.name for handler in play.handlers})
    if missing:
        raise GpurunError(
            f"the handler '{missing[0]}' of that run is not in the play '{play.name}' any more",
            "without it the old file would take no effect: bring the playbook back (git checkout)",
        )


def _task(
    play: Play,
    number: str,
    path: str,
    handlers: tuple[str, ...],
    risk: int,
    disruption: int,
    become: bool,
    user: str,
    hidden: bool,
) -> Task:
    chosen = f"{KEPT}[{number!r}]"
    names = ("path", "run", "before", "after", "content", "copy_before", "copy_after", "made")
    arguments = {
        name: TemplateText(f"{{{{ {chosen}.{name} }}}}", play.origin) for name in (*names, "force")
    }
    shown = f"{{{{ {chosen}.path }}}}" if TEMPLATE_MARK.search(path) else path
    return Task(
        name=f"restore {shown}",
        module="restore",
        arguments=Map(arguments, play.origin),
        origin=play.origin,
        when=(f"{number!r} in {KEPT}",),
        notify=handlers,
        become=become,
        become_user=user,
        risk=Risk(risk),
        disruption=Disruption(disruption),
        no_log=hidden,
    )


# -- what stays -------------------------------------------------------------------------------


def _not_undone(
    kept: Sequence[KeptChange], events: Sequence[Event], inventory: Inventory
) -> Iterator[NotUndone]:
    """What stays as the run left it, hosts with the same together."""
    begun = _begun(events)
    found: dict[str, dict[str, None]] = {}
    for each in kept:
        if each.host not in inventory.hosts:
            found.setdefault("the host is not in the inventory any more", {})[each.host] = None
        elif not each.path and begun(each):
            found.setdefault(f"{each.task}: {each.summary}", {})[each.host] = None
    for path in _paths([each for each in kept if each.path]):
        why = _lost(path)
        if why:
            text = f"{path.last.task}: {path.first.path}, {why}"
            found.setdefault(text, {})[path.first.host] = None
    for what, hosts in found.items():
        yield NotUndone(tuple(hosts), what)


def _disrupted(kept: Sequence[KeptChange], events: Sequence[Event]) -> set[str]:
    """Hosts on which something that stays asked for more than a look: a node that such a change
    may have left half done is not given back by a rollback."""
    begun = _begun(events)
    stays = [each for each in kept if not each.path or each.lost]
    return {each.host for each in stays if each.disruption > Disruption.NONE and begun(each)}


def _left(events: Sequence[Event]) -> list[str]:
    """Hosts that the run began to work on and did not end well: their nodes may be cordoned."""
    working: dict[str, None] = {}
    for event in events:
        if event.kind == "host-done" and not event.data.get("left"):
            working.pop(event.host, None)
        elif event.host and event.kind != "host-planned":
            working[event.host] = None
    return list(working)


def _begun(events: Sequence[Event]) -> Callable[[KeptChange], bool]:
    """Tells of a change whether it may have been made. What was begun with others in one exec was
    not, where the host's end came before it; unless the host fell silent."""
    made: set[tuple[str, str]] = set()
    open_: set[tuple[str, str]] = set()
    for event in events:
        step = (event.host, str(event.data.get("step")))
        if event.kind == "step-started":
            open_.add(step)
        elif event.kind in ("step-done", "step-failed"):
            made.add(step)
        elif event.kind == "host-done":
            of_host = {each for each in open_ if each[0] == event.host}
            open_ -= of_host
            made |= of_host if event.data.get("status") == "unreachable" else set()
    return lambda kept: (kept.host, kept.step) in made | open_
