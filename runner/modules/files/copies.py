"""Copies that a run keeps on the host of what its journal must not hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from shlex import quote

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

FOLDER = "/var/lib/gpurun/kept"
"""Where root's copies are: a folder per run."""
KEPT_RUNS = 20
"""Of how many runs a host keeps copies, where nothing else is said."""


_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Copies:
    """What the host keeps of a path: its SHA-256 before the run and after; "": none."""

    before: str = ""
    after: str = ""


def copies_folder(run: str) -> str:
    """Shell that sets "$k" to the folder of a run's copies: root's, or the user's own."""
    name = quote(run)
    return (
        f"k={quote(FOLDER)}/{name}\n"
        f'[ "$(id -u)" = 0 ] || k="$HOME/.local/state/gpurun/kept/"{name}\n'
    )


def prune(run: str, most: int) -> str:
    """Shell that removes the copies of all but the newest runs, and never those of `run`."""
    return f"""set -u
{copies_folder(run)}cd -- "${{k%/*}}" || exit 0
ls -1t | tail -n +{most + 1} | while IFS= read -r old; do
  [ "$old" = {quote(run)} ] || [ ! -d "$old" ] || [ -L "$old" ] || rm -rf -- "./$old"
done
"""


def copies_probe(key: str, run: str, before: str, after: str) -> Probe:
    """Reads the digests of what is kept.

    Args:
        before: name of the file as it was before the run; "": none.
        after: name that the digest after the run is kept under; "": none.
    """
    shell = copies_folder(run)
    if before:
        file = f'"$k/"{quote(before)}'
        shell += f'[ ! -e {file} ] || echo "before $(sha256sum < {file} | cut -c 1-64)"\n'
    if after:
        file = f'"$k/"{quote(after)}.after'
        shell += f'[ ! -e {file} ] || echo "after $(cat -- {file})"\n'
    return Probe(key, f"{shell}echo looked\n", partial(_parse, run))


def _parse(run: str, result: Result) -> Copies:
    words = dict(line.partition(" ")[::2] for line in result.text.splitlines())
    if result.rc != 0 or "looked" not in words:
        raise Unknown(f"what run {run} kept on the host cannot be read: {result.error_text}")
    found = Copies(words.get("before", ""), words.get("after", ""))
    for digest in (found.before, found.after):
        if digest and not _SHA256.fullmatch(digest):
            raise Unknown(f"what run {run} kept on the host is damaged: {digest!r} is no SHA-256")
    return found
