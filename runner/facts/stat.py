"""What stat(1) tells of a path, under the names of Ansible's `stat`."""

from __future__ import annotations

import base64
from functools import partial
from shlex import quote
from typing import Any

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

_LOOK = r"""export LC_ALL=C
s=$(stat $f -c '%f:%u:%g:%s:%i:%d:%h:%X:%Y:%Z:%U:%G' -- "$p" 2>&1) || {
  printf 'none %s\n' "$s"
  exit 0
}
printf 'stat %s\n' "$s"
[ ! -r "$p" ] || echo readable
[ ! -w "$p" ] || echo writeable
[ ! -x "$p" ] || echo executable
case $s in
a*)
  printf 'target %s\n' "$(readlink -n -- "$p" | base64 -w0)"
  printf 'source %s\n' "$(readlink -n -f -- "$p" | base64 -w0)"
  ;;
8*) if [ -n "$sum" ] && [ -r "$p" ]; then printf 'sum %s\n' "$("$sum" < "$p")" || exit 3; fi ;;
esac
echo looked
"""

_NUMBERS = ("uid", "gid", "size", "inode", "dev", "nlink", "atime", "mtime", "ctime")

# The file type is the first hexadecimal digit of stat's %f (S_IFMT, see inode(7)).
_KINDS = {
    "isfifo": "1",
    "ischr": "2",
    "isdir": "4",
    "isblk": "6",
    "isreg": "8",
    "islnk": "a",
    "issock": "c",
}
_BITS = {
    "isuid": 0o4000,
    "isgid": 0o2000,
    "rusr": 0o400,
    "wusr": 0o200,
    "xusr": 0o100,
    "rgrp": 0o040,
    "wgrp": 0o020,
    "xgrp": 0o010,
    "roth": 0o004,
    "woth": 0o002,
    "xoth": 0o001,
}


def probe(path: str, follow: bool, algorithm: str, become: bool) -> Probe:
    """Look at a path.

    Args:
        follow: tell about what a link leads to.
        algorithm: of the checksum of a regular file, as in `sha256sum`; "": none.
    """
    program = f"{algorithm}sum" if algorithm else ""
    names = f"p={quote(path)} f={'-L' if follow else ''} sum={program}\n"
    key = f"stat:{path}:{'follow' if follow else ''}:{algorithm}"
    return Probe(key, names + _LOOK, partial(parse, path), become=become)


def parse(path: str, result: Result) -> dict[str, Any]:
    """What the probe printed, as the mapping that `register` stores under `stat`."""
    if result.rc != 0:
        raise Unknown(f"{path}: cannot be read: {result.error_text or f'exit {result.rc}'}")
    notes = dict(line.partition(" ")[::2] for line in result.text.splitlines())
    if "none" in notes:
        message = notes["none"]
        if "No such file or directory" in message or "Not a directory" in message:
            return {"exists": False}
        raise Unknown(f"{path}: {message}")
    if "stat" not in notes or "looked" not in notes:
        raise Unknown(f"{path}: the look at it printed nothing that can be understood")
    return {"exists": True, "path": path, **_fields(notes["stat"]), **_noted(notes)}


def _fields(printed: str) -> dict[str, Any]:
    """stat's numbers and names. ValueError for what is none."""
    raw, *fields = printed.split(":")
    numbers, names = fields[: len(_NUMBERS)], fields[len(_NUMBERS) :]
    bits = int(raw, 16)
    found: dict[str, Any] = dict(zip(_NUMBERS, map(int, numbers), strict=True))
    found["pw_name"], found["gr_name"] = names
    found["mode"] = f"{bits & 0o7777:04o}"
    kinds = {name: raw[0] == digit for name, digit in _KINDS.items()}
    return found | kinds | {name: bool(bits & bit) for name, bit in _BITS.items()}


def _noted(notes: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: name in notes for name in ("readable", "writeable", "executable")
    }
    for note, name in (("target", "lnk_target"), ("source", "lnk_source")):
        if note in notes:
            found[name] = base64.b64decode(notes[note]).decode("utf-8", "replace")
    if "sum" in notes:
        found["checksum"] = notes["sum"].split()[0]
    return found
