"""Running the tools of this machine (ip, mount, mmdebstrap …), with errors that say what failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.errors import GpurunError

TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

LONGEST_LINE = 300
"""Characters of a line that a message shows: some tools repeat a whole command line."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with a plain PATH and the C locale, so that output can be read."""
    return {**os.environ, "PATH": TOOL_PATH, "LC_ALL": "C.UTF-8", **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str = "",
    extra: Mapping[str, str] | None = None,
    what: str = "",
) -> str:
    """Run a command and return what it printed.

    Args:
        argv: command and arguments, never a shell line.
        stdin: fed to it.
        extra: environment variables on top of ours.
        what: what it is for, in the message when it fails.

    Raises:
        GpurunError: when the command is not there or exits other than 0.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            env=environment(extra),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise GpurunError(
            f"{what or 'The lab'} needs the command {words[0]}, which is not installed here",
            "./dev demo installs what the lab needs; or see docs/lab.md.",
        ) from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        said = "\n".join(line[:LONGEST_LINE] for line in lines[-12:])
        raise GpurunError(
            f"{what or ' '.join(words[:4])} failed: {words[0]} exited {done.returncode}: {said}"
        )
    return done.stdout


def succeeds(argv: Sequence[str | Path]) -> bool:
    """Whether the command runs and exits 0."""
    try:
        run(argv)
    except GpurunError:
        return False
    return True
