"""What is kept of every change, so that `gpurun rollback` can undo it: files as they were before.

Most of it goes into the journal, before the change is made. What the journal must not hold (a file
that only its owner may read, one with a secret, one of a `no_log` task) or what is too large for it
is copied on the host itself, in the same exec as the change, to a folder that only root can read.
So are the digests of such files: from that of a short secret the secret could be guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from runner.hosts.script import Block, Command
from runner.modules.files.copies import KEPT_RUNS, copies_folder, prune
from runner.secrets.redact import KNOWN

if TYPE_CHECKING:
    from runner.engine.planning import PlannedStep
    from runner.modules.files.state import FileState
    from runner.playbook.document import Play

LARGEST_COPY = 64 * 1024 * 1024
"""Bytes of a file that is copied on the host; of a larger one nothing is kept."""


@dataclass(frozen=True, slots=True)
class KeptChange:
    """One change of a host, or one of the paths it changes.

    Args:
        play, line: name of the play, and the line of the playbook where it begins.
        step: key of the step.
        task, summary: what it was, for a person.
        path: "": no file; nothing brings this change back.
        before, after: the path's state, without content; without digest where `copy` names it.
        content: what was in the file, unless it is copied on the host.
        copy: name of what is kept of it on the host, in the run's folder there; "": nothing.
        hidden: it holds a secret or the task says `no_log`: not to be shown.
        lost: why the path cannot be brought back; "": it can.
        handlers: those that the change notified.
        risk, disruption: those of its step, as numbers.
        become, user: whom the change became on the host.
    """

    host: str
    play: str
    line: int
    step: str
    task: str
    summary: str
    path: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    copy: str = ""
    hidden: bool = False
    lost: str = ""
    handlers: tuple[str, ...] = ()
    risk: int = 1
    disruption: int = 0
    become: bool = True
    user: str = "root"


@dataclass(frozen=True, slots=True)
class Keeper:
    """Where a run keeps what it changes.

    Args:
        write: returns once it is on disk.
        most: of how many runs a host keeps copies.
    """

    run: str
    write: Callable[[Sequence[KeptChange]], None]
    most: int = KEPT_RUNS

    def keep(
        self, play: Play, host: str, steps: Sequence[PlannedStep]
    ) -> dict[str, tuple[Command, ...]]:
        """Keep what these steps are about to change.

        Returns:
            "STEP#CHANGE" -> the commands that copy, on the host, what the journal does not hold.
        """
        kept: list[KeptChange] = []
        copies: dict[str, tuple[Command, ...]] = {}
        for step in steps:
            for number, change in enumerate(step.changes):
                of_change = kept_of(play, host, step, number)
                kept += of_change
                found = [
                    _copy(self.run, each, *files)
                    for each, files in zip(of_change, change.files, strict=False)
                    if each.copy
                ]
                copies[f"{step.key}#{number}"] = tuple(found)
        if kept:
            self.write(kept)
        return copies

    def prune(self, copies: Sequence[Command]) -> Block | None:
        """What removes the copies of older runs, where this one has made copies.

        Args:
            copies: the commands that made them.
        """
        owners = dict.fromkeys((copy.become, copy.user) for copy in copies)
        commands = tuple(
            Command(f"prune/{n}", prune(self.run, self.most), become=become, user=user, brief=True)
            for n, (become, user) in enumerate(owners)
        )
        return Block("prune", None, commands) if commands else None


def kept_of(play: Play, host: str, step: PlannedStep, number: int) -> list[KeptChange]:
    """What is to be kept of one change of a step. A handler that changes no file is not among it:
    it is run again rather than undone."""
    change = step.changes[number]
    plain = KeptChange(
        host,
        play.name,
        play.origin.line,
        str(step.key),
        KNOWN(step.label),
        KNOWN(change.summary),
        risk=int(step.risk),
        disruption=int(step.disruption),
        become=step.context.become if step.context else True,
        user=step.context.user if step.context else "root",
    )
    if change.files and not step.delegate:
        names = [_name(before.path, f"{step.key}#{number}") for before, _ in change.files]
        pairs = zip(names, change.files, strict=True)
        return [_of_file(plain, step, name, *files) for name, files in pairs]
    return [] if step.key.section == "handlers" else [plain]


def _of_file(
    plain: KeptChange, step: PlannedStep, name: str, before: FileState, after: FileState
) -> KeptChange:
    hidden = bool(step.task.no_log) or _holds_secret(before) or _holds_secret(after)
    large = before.kind == "file" and before.content is None
    on_host = hidden or large or before.private or after.private
    lost = _lost(before)
    return replace(
        plain,
        path=before.path,
        before=version(before, digest=not on_host),
        after=version(after, digest=not on_host),
        content=None if on_host else before.content,
        copy=name if on_host and not lost else "",
        hidden=hidden,
        lost=lost,
        handlers=step.notify,
    )


def _lost(before: FileState) -> str:
    if before.kind == "file" and (before.size or 0) > LARGEST_COPY:
        return f"larger than {LARGEST_COPY // 1024 // 1024} MiB, of which no copy is kept"
    return ""


def _holds_secret(state: FileState) -> bool:
    return bool(state.content and KNOWN.found_in(state.content.decode("utf-8", "replace")))


def version(state: FileState, *, digest: bool = True) -> dict[str, Any]:
    """A state as plain data, without content.

    Args:
        digest: with the SHA-256 of a file.
    """
    if not state.exists:
        return {"kind": "absent"}
    if state.kind == "link":
        return {"kind": "link", "target": state.target}
    return {
        "kind": state.kind,
        "mode": state.mode,
        "owner": state.owner,
        "group": state.group,
        "uid": state.uid,
        "gid": state.gid,
        "sha256": state.sha256 if digest and state.kind == "file" else "",
    }


def _name(path: str, change: str) -> str:
    """Names of copies of the same path begin with the same word."""
    return f"{_short(path)}-{_short(change)}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# A run that is resumed may come here twice. The first copy stays if the run itself made the file
# what it is now; else somebody has changed it since, and that is what it was before.
_COPY = """now=$(sha256sum < "$p" | cut -c 1-64)
[ -e "$k/$n" ] && cat -- "$k/${n%-*}"-*.after 2> /dev/null | grep -qx "$now" || {
  trap 'rm -f -- "$k/$n.new"' EXIT
  cp -- "$p" "$k/$n.new"
  sync -- "$k/$n.new"
  mv -fT -- "$k/$n.new" "$k/$n"
}
"""


def _copy(run: str, kept: KeptChange, before: FileState, after: FileState) -> Command:
    """Copies a file, and notes the digest that it shall have after the change."""
    names = f"{copies_folder(run)}n={kept.copy}; p={quote(kept.path)}\n"
    copy = _COPY if before.kind == "file" else ""
    note = f'echo "{after.sha256}" > "$k/$n.after"\nsync -- "$k/$n.after" "$k"\n'
    shell = f'set -eu\numask 077\n{names}mkdir -p -- "$k"\n{copy}{note}'
    small = before.kind != "file" or before.content is not None
    return Command(f"keep:{kept.path}", shell, become=kept.become, user=kept.user, brief=small)
