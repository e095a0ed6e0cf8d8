"""`restore`: a path as it was before an earlier run changed it; made by `gpurun rollback`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any, Literal

from pydantic import Field

from runner.hosts.script import Command, Result
from runner.modules.base import Arguments, Change, Context, Module, Outcome, Probe, Refused, Unknown
from runner.modules.files import shell
from runner.modules.files.arguments import HostPath
from runner.modules.files.change import describe, difference, plain, seen, way_back
from runner.modules.files.copies import FOLDER, Copies, copies_folder, copies_probe
from runner.modules.files.state import FileState, probes, state_of, with_content


class Version(Arguments):
    """What was, or is to be, at a path."""

    kind: Literal["absent", "file", "directory", "link"]
    mode: int = 0
    owner: str = ""
    group: str = ""
    uid: int | None = None
    gid: int | None = None
    sha256: str = Field(default="", description="Empty where it is kept on the host.")
    target: str = ""


class RestoreArguments(Arguments):
    """One path, as the run left it and as it was before."""

    path: HostPath
    run: str = Field(description="The run that changed it.")
    before: Version
    after: Version
    content: str | None = Field(default=None, description="What was in the file, in base64.")
    copy_before: str = Field(default="", description="Its copy on the host, in the run's folder.")
    copy_after: str = Field(default="", description="Whose digest the run left the file with.")
    made: tuple[str, ...] = Field(
        default=(), description="Of a folder: what the run made in it, and is taken out too."
    )
    force: bool = Field(default=False, description="Also if it has changed since the run.")


class Restore(Module[RestoreArguments]):
    """Put a path back as it was before a run, if it is still as that run left it."""

    name = "restore"
    arguments = RestoreArguments

    def probes(self, args: RestoreArguments, context: Context) -> Sequence[Probe]:
        found = [*probes(args.path, context)]
        if args.copy_before or args.copy_after:
            names = (args.copy_before, args.copy_after)
            found.append(copies_probe(_copies_key(args), args.run, *names))
        if args.after.kind == "directory" and args.before.kind == "absent":
            found.append(_entries_probe(args.path))
        return found

    def plan(
        self, args: RestoreArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        copies = observed.get(_copies_key(args), Copies())
        now = state_of(args.path, observed)
        wanted = _state(args, args.before, args.before.sha256 or copies.before)
        if is_like(now, wanted):
            return Outcome()
        _check_copy(args, copies)
        left = _state(args, args.after, args.after.sha256 or copies.after)
        if not args.force and not is_like(now, left):
            raise Refused(
                f"{args.path} has changed since run {args.run}: {_unlike(now, left)}; look at it,"
                " then give --force to put it back all the same"
            )
        _check(args, now, wanted)
        if now.kind == "directory" and not wanted.exists:
            return _without_folder(args, now, observed, context)
        if not now.parent_exists:
            raise Refused(f"{args.path}: its folder is gone; create it, then roll back again")
        return Outcome(changes=(_change(args, now, wanted, context),))


def _check(args: RestoreArguments, now: FileState, wanted: FileState) -> None:
    if "directory" in (now.kind, wanted.kind) and wanted.exists and now.kind != wanted.kind:
        what = {"absent": "gone", "directory": "a folder"}.get(now.kind, f"a {now.kind}")
        raise Refused(f"{args.path} is {what} now and was a {wanted.kind}; bring it back by hand")


def _check_copy(args: RestoreArguments, copies: Copies) -> None:
    needed = args.before.kind == "file" and args.copy_before and not copies.before
    judged = args.after.kind == "file" and args.copy_after and not copies.after
    if needed or (judged and not args.force):
        raise Refused(
            f"{args.path}: what run {args.run} kept of it on this host is gone from"
            f" {FOLDER}/{args.run}; bring the file back by hand"
        )


def _change(args: RestoreArguments, now: FileState, wanted: FileState, context: Context) -> Change:
    wanted = replace(wanted, parent_exists=True)
    content = wanted.kind != "directory" and (now.kind != "file" or now.sha256 != wanted.sha256)
    as_file = now if now.kind == "file" else replace(now, kind="absent")
    differs = "file" in (now.kind, wanted.kind) and "link" not in (now.kind, wanted.kind)
    if wanted.kind == "link":
        summary = f"link {wanted.path} -> {wanted.target} again"
    elif wanted.exists:
        summary = describe(as_file, wanted) if now.kind != "directory" else describe(now, wanted)
    else:
        summary = f"remove {wanted.path}, which run {args.run} made"
    return Change(
        summary=summary,
        do=(_command(args, now, wanted, context, content=content),),
        guard=shell.guard(now, content=content),
        before=plain(now, hidden=bool(args.copy_before or args.copy_after)),
        after=plain(wanted, hidden=bool(args.copy_before or args.copy_after)),
        diff=difference(now, wanted) if differs else None,
        overlay=seen(wanted),
        undo=way_back(now, wanted, become=context.become) if differs else (),
        files=((now, wanted),),
    )


def _command(
    args: RestoreArguments, now: FileState, wanted: FileState, context: Context, *, content: bool
) -> Command:
    become, attributes = context.become, shell.attributes_of(wanted)
    if not wanted.exists:
        return shell.remove(args.path, become=become)
    if wanted.kind == "link":
        return shell.make_link(args.path, wanted.target, become)
    if not content:
        return shell.set_attributes(args.path, attributes, become)
    if wanted.content is not None:
        return shell.write(args.path, wanted.content, attributes, become=become)
    source = f'{copies_folder(args.run)}cat -- "$k/"{quote(args.copy_before)}'
    return shell.copy_of(args.path, wanted.sha256, source, attributes, become=become)


def _without_folder(
    args: RestoreArguments, now: FileState, observed: Mapping[str, Any], context: Context
) -> Outcome:
    """A folder that the run made goes again, unless others have put something there since."""
    ours = {path.rpartition("/")[2] for path in args.made}
    others = sorted(set(observed[_entries_key(args.path)]) - ours)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        why = f"{args.path} is left: it holds {others[0]}{more}, which run {args.run} did not make"
        return Outcome(messages=(why,))
    gone = FileState(args.path, "absent", owner=now.owner, group=now.group, uid=now.uid)
    change = Change(
        summary=f"remove the folder {args.path}, which run {args.run} made",
        do=(shell.remove_folders((args.path,), context.become),),
        guard=shell.guard(now),
        before=plain(now),
        after=plain(gone),
        overlay=seen(replace(gone, gid=now.gid)),
        undo=(
            shell.undoing(
                shell.make_folders((args.path,), shell.attributes_of(now), context.become),
                now,
                gone,
            ),
        ),
        files=((now, gone),),
    )
    return Outcome(changes=(change,))


def _state(args: RestoreArguments, version: Version, digest: str) -> FileState:
    """A kept version as a state of the path."""
    state = FileState(
        args.path,
        version.kind,
        version.mode,
        version.owner,
        version.group,
        version.uid,
        version.gid,
        size=None,
        sha256=digest,
        target=version.target,
    )
    if version is args.before and version.kind == "file" and args.content is not None:
        return with_content(state, base64.b64decode(args.content))
    return state


def is_like(now: FileState, kept: FileState) -> bool:
    """Whether a path is in the kept state; owners by number where they were known."""
    if now.kind != kept.kind:
        return False
    if now.kind == "absent":
        return True
    if now.kind == "link":
        return now.target == kept.target
    owner = (now.owner == kept.owner) if kept.uid is None else (now.uid == kept.uid)
    group = (now.group == kept.group) if kept.gid is None else (now.gid == kept.gid)
    return owner and group and now.mode == kept.mode and now.sha256 == kept.sha256


def _unlike(now: FileState, left: FileState) -> str:
    """What differs from how the run left it, for a person."""
    if not now.exists:
        return "it is gone"
    if now.kind != left.kind:
        return f"it is a {now.kind} and was {'absent' if not left.exists else f'a {left.kind}'}"
    if now.kind == "link":
        return f"it leads to {now.target} instead of {left.target}"
    found = [] if now.sha256 == left.sha256 else ["its content"]
    if now.mode != left.mode:
        found.append(f"mode {left.mode:04o} -> {now.mode:04o}")
    if (now.owner, now.group) != (left.owner, left.group):
        found.append(f"owner {left.owner}:{left.group} -> {now.owner}:{now.group}")
    return ", ".join(found) or "the number of its owner or group"


# -- looks ------------------------------------------------------------------------------------


def _copies_key(args: RestoreArguments) -> str:
    return f"kept:{args.run}:{args.copy_before}:{args.copy_after}"


def _entries_key(path: str) -> str:
    return f"entries:{path}"


def _entries_probe(path: str) -> Probe:
    shell_text = f"[ ! -d {quote(path)} ] || ls -A -- {quote(path)}"
    return Probe(_entries_key(path), shell_text, _entries)


def _entries(result: Result) -> tuple[str, ...]:
    if result.rc != 0 or result.truncated:
        raise Unknown(f"a folder cannot be listed: {result.error_text}")
    return tuple(result.text.splitlines())
