"""`file`: a folder, a link, a file's mode and owner, or nothing at a path."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from runner.hosts.script import Command
from runner.modules.base import Change, Context, Module, Outcome, Probe, Refused, Risk
from runner.modules.files import shell
from runner.modules.files.arguments import Content, HostPath, Ownership
from runner.modules.files.change import (
    Wanted,
    attribute_changes,
    describe,
    difference,
    overlay,
    plain,
    plan_content,
    same_attributes,
    seen,
    with_attributes,
)
from runner.modules.files.state import (
    FileState,
    ancestors,
    follow,
    key,
    probes,
    state_of,
)


class FileArguments(Ownership):
    """What shall be at a path."""

    other_names: ClassVar[Mapping[str, str]] = {"dest": "path", "name": "path"}

    path: HostPath = Field(description="Absolute path on the host.")
    state: Literal["file", "directory", "link", "absent", "touch"] = Field(
        default="file",
        description="file: exists already, only mode and owner are managed; directory: a folder,"
        " with the folders above it; link: a symbolic link to src; absent: nothing;"
        " touch: a file, created empty when missing (times are not touched).",
    )
    src: str | None = Field(
        default=None, description="What the link points at (only for state link)."
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if (self.state == "link") != (self.src is not None):
            raise ValueError(
                "src is what a link points at: it belongs to state link, and only there"
            )
        if self.state in ("link", "absent") and (self.mode or self.owner or self.group):
            raise ValueError(f"state {self.state} has no mode, owner or group")
        return self


class File(Module[FileArguments]):
    """Manage a path: a folder, a symbolic link, a file's mode and owner, or its absence.

    Nothing is ever replaced by something of another kind: a folder in the place of a wanted link
    is refused. Removing a folder removes everything in it, except other file systems mounted there.
    """

    name = "file"
    arguments = FileArguments
    examples = (
        'file: {path: /etc/containerd/certs.d, state: directory, mode: "0755"}',
        "file: {path: /etc/cdi/nvidia.yaml, state: absent}",
        "file: {path: /usr/local/bin/nvidia-smi, state: link, src: /opt/nvidia/bin/nvidia-smi}",
    )
    risk = Risk.MEDIUM

    def probes(self, args: FileArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path.rstrip("/"), context)

    def plan(self, args: FileArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        state = state_of(args.path.rstrip("/"), observed)
        if args.state == "absent":
            return _absent(state, context)
        if args.state == "link":
            return _link(state, args.src or "", context)
        end = follow(state, observed)
        if args.state == "touch" and end.kind == "absent":
            options = Content(mode=args.mode, owner=args.owner, group=args.group)
            return plan_content(Wanted(state.path, b"", options), observed, context)
        if args.state == "directory" and end.kind == "absent":
            return _folder(end, args, observed, context)
        return _attributes(state, end, args, context)


def _absent(state: FileState, context: Context) -> Outcome:
    if not state.exists:
        return Outcome()
    folder = state.kind == "directory"
    if folder and not ancestors(state.path):
        raise Refused(f"{state.path} is a folder of the root; it is not removed with all in it")
    after = FileState(
        state.path, "absent", owner=state.owner, group=state.group, uid=state.uid, gid=state.gid
    )
    undo: tuple[Command, ...] = ()
    if state.kind == "link":
        undo = (shell.make_link(state.path, state.target, context.become),)
    elif state.content is not None:
        attributes = shell.attributes_of(state)
        undo = (shell.write(state.path, state.content, attributes, become=context.become),)
    undo = tuple(shell.undoing(command, state, after) for command in undo)
    change = Change(
        summary=f"remove {state.path}" + (" and everything in it" if folder else ""),
        do=(shell.remove(state.path, folder, context.become),),
        guard=shell.guard(state),
        risk=Risk.MEDIUM if folder else Risk.LOW,
        before=plain(state),
        after=plain(after),
        diff=difference(state, after) if state.kind == "file" else None,
        overlay=seen(after),
        undo=undo,
        files=((state, after),),
    )
    return Outcome(changes=(change,))


def _link(state: FileState, target: str, context: Context) -> Outcome:
    if state.kind in ("file", "directory"):
        raise Refused(
            f"{state.path} is a {'folder' if state.is_directory else 'file'}, a link is wanted"
            " there; remove it first with state: absent"
        )
    if state.kind == "link" and state.target == target:
        return Outcome()
    if not state.parent_exists:
        raise Refused(f"{state.path}: its folder does not exist and no earlier task creates it")
    undo = (
        shell.make_link(state.path, state.target, context.become)
        if state.exists
        else shell.remove(state.path, become=context.become)
    )
    # What the new link leads to was not looked at: nothing may be planned through it.
    after = replace(state, kind="link", mode=0o777, target=target, resolved=None)
    old = f"{state.target} -> " if state.exists else ""
    change = Change(
        summary=f"link {state.path}: {old}{target}",
        do=(shell.make_link(state.path, target, context.become),),
        guard=shell.guard(state),
        before=plain(state),
        after=plain(after),
        overlay=seen(after),
        undo=(shell.undoing(undo, state, after),),
        files=((state, after),),
    )
    return Outcome(changes=(change,))


def _folder(
    end: FileState, args: FileArguments, observed: Mapping[str, Any], context: Context
) -> Outcome:
    above = [state_of(path, observed) for path in ancestors(end.path) if key(path) in observed]
    blocking = [each.path for each in above if each.exists and not each.is_directory]
    if blocking:
        raise Refused(f"{end.path}: {blocking[0]} is not a folder")
    missing = [*reversed([each for each in above if not each.exists]), end]
    made = tuple(with_attributes(replace(each, kind="directory"), args, each) for each in missing)
    paths = tuple(each.path for each in made)
    change = Change(
        summary=f"create folder {describe_folder(made[-1])}",
        do=(shell.make_folders(paths, shell.attributes_of(made[-1]), context.become),),
        guard=shell.guard(missing[0]),
        before=plain(end),
        after=plain(made[-1]),
        overlay=seen(*made),
        undo=(shell.remove_folders(paths, context.become),),
        files=tuple(zip(missing, made, strict=True)),
    )
    return Outcome(changes=(change,))


def describe_folder(state: FileState) -> str:
    return f"{state.path} (mode {state.mode:04o}, {state.owner}:{state.group})"


def _attributes(link: FileState, end: FileState, args: FileArguments, context: Context) -> Outcome:
    kind = "directory" if args.state == "directory" else "file"
    if not end.exists:
        raise Refused(
            f"{end.path} does not exist; state file manages only mode and owner of what is there:"
            " use copy, template, or state: touch"
        )
    if end.kind != kind and not (args.state == "file" and end.kind == "directory"):
        raise Refused(f"{end.path} is a {end.kind}, not a {kind}; it is not replaced")
    after = with_attributes(end, args, end)
    if same_attributes(end, after):
        return Outcome()
    change = Change(
        summary=describe(end, after),
        do=(shell.set_attributes(end.path, shell.attributes_of(after), context.become),),
        guard=shell.guard(end, content=False),
        before=plain(end),
        after=plain(after),
        diff=replace(difference(end, end), attributes=attribute_changes(end, after))
        if end.kind == "file"
        else None,
        overlay=overlay(link, after),
        undo=(
            shell.undoing(
                shell.set_attributes(end.path, shell.attributes_of(end), context.become), end, None
            ),
        ),
        files=((end, after),),
    )
    return Outcome(changes=(change,))


def missing_folder(path: str, observed: Mapping[str, Any], context: Context) -> tuple[Change, ...]:
    """What makes the folder of a file that a module writes; () where it is there."""
    folder = FileArguments(path=posixpath.dirname(path), state="directory")
    state = state_of(folder.path, observed)
    return () if state.exists else File().plan(folder, observed, context).changes
