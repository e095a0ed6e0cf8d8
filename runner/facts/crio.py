"""CRI-O on a host: whether it is installed, and the files of its configuration (crio.conf(5))."""

from __future__ import annotations

import base64
import binascii
import posixpath
from dataclasses import dataclass
from functools import partial
from shlex import quote

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown
from runner.modules.files.state import LARGEST_CONTENT

CONFIG_PATH = "/etc/crio/crio.conf"


@dataclass(frozen=True, slots=True)
class CrioFile:
    """A file of its configuration."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class CrioState:
    """CRI-O and the files that it reads, in that order: a later one wins."""

    installed: bool
    files: tuple[CrioFile, ...] = ()


_LOOK = r"""export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
command -v crio > /dev/null && echo installed
encode() { base64 -w0; }
for file in "$p" "$d"/*; do
  [ -f "$file" ] || continue
  size=$(wc -c < "$file")
  if [ "$size" -gt LARGEST ]; then
    printf 'large %s %s\n' "$(printf %s "$file" | encode)" "$size"
    continue
  fi
  printf 'file %s %s\n' "$(printf %s "$file" | encode)" "$(encode < "$file")"
done
echo looked
""".replace("LARGEST", str(LARGEST_CONTENT))


def key(path: str, folder: str) -> str:
    """The probe key of a configuration."""
    return f"crio:{path}:{folder}"


def probe(path: str, drop_in: str, become: bool = True) -> Probe:
    """Look at a main file, and at all that lies in the folder of a drop-in."""
    folder = posixpath.dirname(drop_in)
    names = f"p={quote(path)}; d={quote(folder)}\n"
    return Probe(key(path, folder), names + _LOOK, partial(parse, path), become=become)


def parse(path: str, result: Result) -> CrioState:
    """What the probe printed. Raises `Unknown` for anything else."""
    lines = result.text.splitlines()
    if result.rc != 0 or result.truncated or result.timed_out or lines[-1:] != ["looked"]:
        why = result.error_text or "cut short"
        raise Unknown(f"CRI-O with {path} cannot be looked at: {why}")
    words = [line.split(" ") for line in lines]
    for word, *rest in words:
        if word == "large":
            raise Unknown(f"{_decoded(rest[0])} has {rest[1]} bytes: no configuration of CRI-O")
    files = [CrioFile(_decoded(each[1]), _decoded(each[2])) for each in words if each[0] == "file"]
    return CrioState("installed" in lines, tuple(files))


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except binascii.Error as error:
        raise Unknown(f"what was read of CRI-O is damaged ({error})") from error
