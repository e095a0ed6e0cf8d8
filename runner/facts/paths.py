"""Whether a path exists: cheap, for any kind of file, shared by key."""

from __future__ import annotations

import shlex
from functools import partial

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown


def exists_key(path: str) -> str:
    """The probe key; a task that makes or removes the path overlays it with a boolean."""
    return f"exists:{path}"


def exists_probe(path: str, become: bool) -> Probe:
    """Look whether anything, a dangling link included, is at the path."""
    quoted = shlex.quote(path)
    shell = f"[ -e {quoted} ] || [ -L {quoted} ]"
    return Probe(exists_key(path), shell, partial(_parse, path), become=become)


def _parse(path: str, result: Result) -> bool:
    if result.rc not in (0, 1) or result.timed_out:
        raise Unknown(f"{path}: whether it exists is not known: {result.error_text}")
    return result.rc == 0
