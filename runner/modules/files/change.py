"""From a wanted content, mode and owner to one change of one file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

from runner.facts.paths import exists_key
from runner.hosts.script import Command
from runner.modules.base import Change, Context, FileDiff, Outcome, Refused, Risk
from runner.modules.files import shell
from runner.modules.files.arguments import Content, Ownership
from runner.modules.files.state import (
    LARGEST_CONTENT,
    FileState,
    follow,
    key,
    state_of,
    with_content,
)

NEW_FILE_MODE = 0o644
SECRET_FILE_MODE = 0o600
"""Of a new file that holds a secret."""
NEW_FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be at a path: its bytes, its attributes, how it is written."""

    path: str
    content: bytes
    options: Content
    risk: Risk = Risk.LOW
    summary: str = ""
    """Says more than "write PATH"; may stay empty."""


def plan_content(wanted: Wanted, observed: Mapping[str, Any], context: Context) -> Outcome:
    """One change that brings content, mode and owner to what is wanted, or none.

    Raises:
        Refused: a folder is in the way, the parent folder is missing, a link may not be followed.
    """

    def write(state: FileState, backup: str) -> Command:
        return shell.write(
            state.path,
            wanted.content,
            shell.attributes_of(state),
            validate=wanted.options.validate_with,
            backup=backup,
            become=context.become,
        )

    before = follow(state_of(wanted.path, observed), observed)
    secret = context.secret_in(wanted.content.decode("utf-8", "replace"))
    options = wanted.options
    if secret and options.mode is None and not before.exists:
        options = options.model_copy(update={"mode": f"{SECRET_FILE_MODE:04o}"})
    file = NewFile(wanted.path, with_content(before, wanted.content), options, write)
    outcome = plan_file(file, observed, context, secret=bool(secret))
    told = [_told(change, wanted, before, secret) for change in outcome.changes]
    return replace(outcome, changes=tuple(told))


def _told(change: Change, wanted: Wanted, before: FileState, secret: str) -> Change:
    """The change with its risk, and with more to say: no contents where there is one to hide."""
    hidden = bool(secret) or (change.diff is not None and change.diff.sensitive)
    after = change.overlay[key(before.path)]
    summary = describe(before, after, "" if hidden else wanted.summary)
    if secret:
        summary += f"; it holds {secret}"
    return replace(change, summary=summary, risk=wanted.risk)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file by its SHA-256, and how it is written.

    Args:
        state: of its mode and owner what `options` do not name is kept.
        write: makes the command that writes a state, and keeps the old file at a path ("": no).
    """

    path: str
    state: FileState
    options: Content
    write: Callable[[FileState, str], Command]


def plan_file(
    file: NewFile, observed: Mapping[str, Any], context: Context, *, secret: bool = False
) -> Outcome:
    """One change that makes a path that file, or none.

    Args:
        secret: it holds one, so no digest is shown from which what is short could be guessed.

    Raises:
        Refused: as `plan_content`.
    """
    link = state_of(file.path, observed)
    if link.kind == "link" and not file.options.follow:
        raise Refused(f"{file.path} is a link to {link.target} and `follow` is false")
    before = follow(link, observed)
    check_place(before)
    after = with_attributes(file.state, file.options, before)
    writes = not before.exists or before.sha256 != after.sha256
    backup = ""
    if file.options.backup and before.exists and writes:
        backup = f"{before.path}.{before.sha256[:12]}~"
    result = {"path": before.path, "sha256": after.sha256, "size": after.size, "backup": backup}
    if same(before, after):
        return Outcome(result=result)
    diff = difference(before, after)
    hidden = secret or diff.sensitive
    become = context.become
    attributes = shell.set_attributes(after.path, shell.attributes_of(after), become)
    change = Change(
        summary=describe(before, after),
        do=(file.write(after, backup) if writes else attributes,),
        guard=" && ".join(shell.guard(each, content=writes) for each in _chain(link, before)),
        before=plain(before, hidden=hidden),
        after=plain(after, hidden=hidden),
        diff=diff,
        overlay=overlay(link, after),
        undo=way_back(before, after, backup, become),
        files=((before, after),),
    )
    return Outcome(changes=(change,), result=result)


def _chain(link: FileState, end: FileState) -> tuple[FileState, ...]:
    return (link, end) if link.kind == "link" else (end,)


def overlay(link: FileState, after: FileState) -> dict[str, Any]:
    """The states afterwards: of the file, and of the link that led to it."""
    if link.kind == "link":
        return seen(after, replace(link, resolved=after))
    return seen(after)


def seen(*states: FileState) -> dict[str, Any]:
    """What probes of these paths will read: their state, and whether they exist at all."""
    return {key(each.path): each for each in states} | {
        exists_key(each.path): each.exists for each in states
    }


def check_place(state: FileState) -> None:
    """Raises `Refused` where a file cannot be written."""
    if state.kind == "directory":
        raise Refused(
            f"{state.path} is a folder, a file is wanted there; end the path with the file's name"
        )
    if not state.exists and not state.parent_exists:
        folder = state.path.rpartition("/")[0]
        raise Refused(
            f"{state.path}: the folder {folder} does not exist on the host and no earlier task"
            f" creates it; add before it: file: {{path: {folder}, state: directory}}"
        )


def with_attributes(state: FileState, wanted: Ownership, before: FileState) -> FileState:
    """`state` with the wanted mode and owner; what is not given stays, or is the default."""
    default = NEW_FOLDER_MODE if state.kind == "directory" else NEW_FILE_MODE
    mode = before.mode if before.exists else default
    if wanted.mode is not None:
        mode = int(wanted.mode, 8)
    owner, uid = _identity(wanted.owner, before.owner, before.uid)
    group, gid = _identity(wanted.group, before.group, before.gid)
    return replace(state, mode=mode, owner=owner, uid=uid, group=group, gid=gid, parent_exists=True)


def _identity(wanted: str | None, name: str, number: int | None) -> tuple[str, int | None]:
    if wanted is None or wanted == name or (wanted.isdigit() and number == int(wanted)):
        return name, number
    return wanted, int(wanted) if wanted.isdigit() else None


def same(before: FileState, after: FileState) -> bool:
    return before.exists and before.sha256 == after.sha256 and same_attributes(before, after)


def same_attributes(before: FileState, after: FileState) -> bool:
    return (before.mode, before.owner, before.group) == (after.mode, after.owner, after.group)


def way_back(
    before: FileState, after: FileState, backup: str = "", become: bool = True
) -> tuple[Command, ...]:
    """What puts a file back as it was, while it is as the change left it; () where nothing can."""
    attributes = shell.attributes_of(before)
    if before.exists and before.sha256 == after.sha256:
        command = shell.set_attributes(before.path, attributes, become)
        return (shell.undoing(command, before, None),)
    if not before.exists:
        command = shell.remove(after.path, become=become)
    elif before.content is not None:
        command = shell.write(before.path, before.content, attributes, become=become)
    elif backup:
        source = f"cat -- {quote(backup)}"
        command = shell.copy_of(before.path, before.sha256, source, attributes, become=become)
    else:
        return ()
    return (shell.undoing(command, before, after),)


def attribute_changes(before: FileState, after: FileState) -> tuple[tuple[str, str, str], ...]:
    """(name, before, after) for mode, owner and group where they differ."""
    if not before.exists or not after.exists:
        return ()
    pairs = (
        ("mode", f"{before.mode:04o}", f"{after.mode:04o}"),
        ("owner", before.owner, after.owner),
        ("group", before.group, after.group),
    )
    return tuple(pair for pair in pairs if pair[1] != pair[2])


def describe(before: FileState, after: FileState, summary: str = "") -> str:
    """One line: what happens to the path, and which attributes change."""
    attributes = ", ".join(
        f"{n} {old} -> {new}" for n, old, new in attribute_changes(before, after)
    )
    if not before.exists:
        attributes = f"mode {after.mode:04o}, {after.owner}:{after.group}"
    if summary:
        text = f"{after.path}: {summary}"
    elif not before.exists:
        text = f"create {after.path}"
    elif before.sha256 != after.sha256:
        text = f"change {after.path}"
    else:
        return f"{after.path}: {attributes}"
    return f"{text} ({attributes})" if attributes else text


def difference(before: FileState, after: FileState) -> FileDiff:
    """Before and after as text; binary and large files as size and hash, and where they begin to
    differ, as far as both are known."""
    old, new, note = _text(before), _text(after), ""
    if (before.exists and old is None) or (after.exists and new is None):
        old, new, note = _digest(before), _digest(after), _first_difference(before, after)
    sensitive = before.private or after.private
    return FileDiff(after.path, old, new, attribute_changes(before, after), sensitive, note)


def _first_difference(before: FileState, after: FileState) -> str:
    if before.sha256 == after.sha256 or not (before.exists and after.exists):
        return ""
    if before.content is None or after.content is None:
        return f"more than {LARGEST_CONTENT // 1024} KiB: compared by SHA-256"
    pairs = enumerate(zip(before.content, after.content, strict=False))
    shorter = min(len(before.content), len(after.content))
    first = next((number for number, (old, new) in pairs if old != new), shorter)
    return f"binary; the first difference is at byte {first + 1}"


_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def _text(state: FileState) -> str | None:
    if state.content is None:
        return None
    text = state.content.decode("utf-8", "surrogateescape")
    return None if _BINARY.search(text) else text


def _digest(state: FileState) -> str | None:
    if not state.exists:
        return None
    size = "" if state.size is None else f"{state.size} bytes, "
    return f"({size}sha256 {state.sha256})\n"


def plain(state: FileState, *, hidden: bool = False) -> dict[str, Any]:
    """A state for people and JSON: no contents.

    Args:
        hidden: nor a digest, from which what is short could be guessed.
    """
    if not state.exists:
        return {"path": state.path, "state": "absent"}
    data: dict[str, Any] = {"path": state.path, "state": state.kind}
    if state.kind == "link":
        return data | {"src": state.target}
    data |= {"mode": f"{state.mode:04o}", "owner": state.owner, "group": state.group}
    if state.kind == "file":
        data |= {"size": state.size} if hidden else {"size": state.size, "sha256": state.sha256}
    return data
