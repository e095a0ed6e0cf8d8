"""What is at a path of a host: one probe per path, shared by all modules about files.

The probe's key is `file:PATH`, so that a task sees what earlier tasks of the same plan will have
made of that path. Every task also probes the folders above its path: a folder that an earlier
task creates is then there for the files in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from shlex import quote
from typing import Any, Literal

from runner.hosts.script import Result
from runner.modules.base import Context, Probe, Refused, Unknown

LARGEST_CONTENT = 1024 * 1024
"""Bytes of a regular file that are read; of a larger one only size and SHA-256."""

Kind = Literal["absent", "file", "directory", "link"]

# The file type is the first hexadecimal digit of stat's %f (S_IFMT, see inode(7)).
_KINDS: dict[str, Kind] = {"8": "file", "4": "directory", "a": "link"}
_SPECIAL = {"1": "a FIFO", "2": "a character device", "6": "a block device", "c": "a socket"}


@dataclass(frozen=True, slots=True)
class FileState:
    """What is at `path`, links not followed.

    For an absent path `owner`, `group`, `uid` and `gid` are those a new file would get. `uid` and
    `gid` are None when only the name is known (planned, not yet read). `content` is None for what
    is not a regular file, or larger than `LARGEST_CONTENT`; `size` is None while only the SHA-256
    is known (a download that is planned). `resolved` is what a link leads to; None when it leads
    nowhere (a loop, a missing folder).
    """

    path: str
    kind: Kind
    mode: int = 0
    owner: str = ""
    group: str = ""
    uid: int | None = None
    gid: int | None = None
    size: int | None = 0
    sha256: str = ""
    content: bytes | None = None
    target: str = ""
    resolved: FileState | None = None
    parent_exists: bool = True

    @property
    def exists(self) -> bool:
        return self.kind != "absent"

    @property
    def private(self) -> bool:
        """A file that neither group nor others may read: nor shall readers of plans."""
        return self.kind == "file" and not self.mode & 0o044

    @property
    def is_directory(self) -> bool:
        """A folder, or a link to one."""
        final = self.resolved if self.kind == "link" and self.resolved else self
        return final.kind == "directory"


def key(path: str) -> str:
    """The probe key of a path."""
    return f"file:{path}"


def ancestors(path: str) -> tuple[str, ...]:
    """The folders above a path, the nearest first, "/" left out."""
    found: list[str] = []
    while (path := posixpath.dirname(path)) != "/":
        found.append(path)
    return tuple(found)


def with_content(state: FileState, content: bytes) -> FileState:
    """The same file with other content."""
    digest = hashlib.sha256(content).hexdigest()
    kept = content if len(content) <= LARGEST_CONTENT else None
    return replace(state, kind="file", size=len(content), sha256=digest, content=kept)


_LOOK = r"""export LC_ALL=C
gone=
look() {
  s=$(stat $2 -c '%f:%u:%g:%s:%U:%G' -- "$1" 2>&1) || {
    printf 'none %s\n' "$s"
    gone=yes
    return 0
  }
  printf 'stat %s\n' "$s"
  case $s in 8*) ;; *) return 0 ;; esac
  size=${s#*:*:*:}
  if [ "${size%%:*}" -le LARGEST ]; then
    echo content && base64 < "$1" && echo end || exit 3
  else
    printf 'sha256 ' && sha256sum < "$1" || exit 3
  fi
}
look "$p" ''
case $s in
a*:*:*)
  printf 'target %s\n' "$(readlink -n -- "$p" | base64 -w0)"
  if r=$(readlink -f -- "$p"); then
    printf 'resolved %s\n' "$(printf %s "$r" | base64 -w0)"
    look "$r" ''
  fi ;;
esac
if [ -n "$gone" ]; then
  printf 'me %s\n' "$(id)"
fi
if [ -d "$d" ]; then echo parent; fi
echo looked
""".replace("LARGEST", str(LARGEST_CONTENT))


def probe(path: str, become: bool = True) -> Probe:
    """Look at one absolute path. The parser raises `Unknown` for what cannot be read or managed."""
    names = f"p={quote(path)}; d={quote(posixpath.dirname(path))}\n"
    return Probe(key(path), names + _LOOK, partial(parse, path), become=become)


def probes(path: str, context: Context) -> Sequence[Probe]:
    """Look at a path and at every folder above it."""
    return [probe(each, context.become) for each in (path, *ancestors(path))]


def parse(path: str, result: Result) -> FileState:
    """What the probe printed, as a state."""
    if result.truncated or result.timed_out:
        raise Unknown(f"{path}: the look at it was cut short")
    if result.rc != 0:
        raise Unknown(f"{path}: cannot be read: {result.error_text or f'exit {result.rc}'}")
    lines = iter(result.text.splitlines())
    found: list[FileState] = []
    notes: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word in ("none", "stat"):
            where = _decode(path, notes["resolved"]).decode() if "resolved" in notes else path
            found.append(_absent(where, rest) if word == "none" else _present(where, rest))
        elif word == "content":
            encoded = "".join(_until_end(path, lines))
            found[-1] = with_content(found[-1], _decode(path, encoded))
        elif word == "sha256":
            found[-1] = replace(found[-1], sha256=rest.split()[0])
        else:
            notes[word] = rest
    return _assemble(path, found, notes)


def _until_end(path: str, lines: Any) -> list[str]:
    collected: list[str] = []
    for line in lines:
        if line == "end":
            return collected
        collected.append(line)
    raise Unknown(f"{path}: its content broke off")


def _assemble(path: str, found: list[FileState], notes: Mapping[str, str]) -> FileState:
    if not found or "looked" not in notes:
        raise Unknown(f"{path}: the look at it printed nothing that can be understood")
    state, *rest = [each if each.exists else _owned(each, notes["me"]) for each in found]
    if state.kind == "link":
        target = _decode(path, notes.get("target", "")).decode("utf-8", "surrogateescape")
        state = replace(state, target=target, resolved=rest[0] if rest else None)
    return replace(state, parent_exists="parent" in notes)


# What id(1) prints; a number without a name stands alone.
_IDENTITY = re.compile(r"uid=(\d+)(?:\(([^)]*)\))? gid=(\d+)(?:\(([^)]*)\))?")


def _owned(state: FileState, identity: str) -> FileState:
    """An absent path with the user and group that a new file would get."""
    match = _IDENTITY.match(identity)
    if match is None:
        raise Unknown(f"{state.path}: who a new file would belong to is unknown: {identity!r}")
    uid, owner, gid, group = match.groups()
    return replace(state, uid=int(uid), gid=int(gid), owner=owner or uid, group=group or gid)


def _decode(path: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise Unknown(f"{path}: what was read of it is damaged ({error})") from error


def _absent(path: str, message: str) -> FileState:
    if "No such file or directory" in message or "Not a directory" in message:
        return FileState(path, "absent")
    raise Unknown(f"{path}: {message}")


def _present(path: str, fields: str) -> FileState:
    try:
        raw, uid, gid, size, owner, group = fields.split(":")
        bits = int(raw, 16)
        kind = _KINDS.get(raw[0])
        if kind is None:
            what = _SPECIAL.get(raw[0], "of an unknown type")
            raise Unknown(f"{path} is {what}; only files, folders and links are managed")
        return FileState(
            path,
            kind,
            mode=bits & 0o7777,
            owner=owner,
            group=group,
            uid=int(uid),
            gid=int(gid),
            size=int(size) if kind == "file" else 0,
        )
    except ValueError as error:
        raise Unknown(f"{path}: stat printed {fields!r}") from error


def state_of(path: str, observed: Mapping[str, Any]) -> FileState:
    """What is, or by then will be, at a path: earlier planned changes of its folders included."""
    state = observed.get(key(path))
    if not isinstance(state, FileState):
        raise Unknown(f"{path} was not looked at")
    above = [observed[key(each)] for each in ancestors(path) if key(each) in observed]
    if any(not folder.is_directory for folder in above):
        identity = above[0]
        if state.exists:
            # An earlier task of this plan removes the folder, and the path with it.
            state = FileState(
                path,
                "absent",
                owner=identity.owner,
                group=identity.group,
                uid=identity.uid,
                gid=identity.gid,
            )
        return replace(state, parent_exists=False)
    if above:
        return replace(state, parent_exists=True)
    return state


def follow(state: FileState, observed: Mapping[str, Any]) -> FileState:
    """The end of a link; any other state is returned as it is. Raises `Refused` for a loop."""
    if state.kind != "link":
        return state
    if state.resolved is None:
        raise Refused(
            f"{state.path} is a link to {state.target}, which leads nowhere (a loop or a missing"
            " folder); remove the link or repair it first"
        )
    planned = observed.get(key(state.resolved.path))
    return planned if isinstance(planned, FileState) else state.resolved
