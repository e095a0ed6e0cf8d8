"""Where the command line crosses into a rootless lab: its nodes are reached from inside only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from runner.inventory.model import Host

VARIABLE = "gpurun_lab_namespace"
"""Variable of a rootless lab's hosts: the file that names the lab's keeper process."""


def cross_over(hosts: Iterable[Host]) -> None:
    """Start this command again inside the namespaces its hosts live in; no such host: do nothing.

    Raises:
        GpurunError: when the lab does not run, or other hosts were named along with it.
    """
    files = {str(host.variables.get(VARIABLE, "")) for host in hosts}
    if not any(files):
        return
    from runner.errors import GpurunError
    from runner.lab import rootless
    from runner.lab.layout import is_rootless

    if is_rootless():
        return
    if len(files) > 1:
        raise GpurunError(
            "A rootless lab has a network of its own, and not all of these hosts are in it",
            "Name its inventory alone.",
        )
    finish(rootless.enter(Path(files.pop()), this_command()))


def finish(code: int) -> NoReturn:
    """End as the command inside ended; nothing of this process is left to be done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def this_command() -> list[str]:
    return [sys.executable, "-m", "runner.cli.main", *sys.argv[1:]]


def lab_command(verb: str) -> None:
    """Let `gpurun lab VERB` of an ordinary user go on inside; returns where it need not.

    Raises:
        GpurunError: when there is no lab of this user, or something is missing here.
    """
    from runner.errors import GpurunError
    from runner.lab import rootless
    from runner.lab.layout import LABS, NAME
    from runner.lab.requirements import require_root

    if verb == "up" or rootless.exists():
        rootless.use(this_command(), prepare=verb == "up")
    if LABS.is_dir() and any(NAME.fullmatch(path.name) for path in LABS.iterdir()):
        require_root()
    raise GpurunError("You have no lab on this machine", "Start it: gpurun lab up")


def shell_command(name: str) -> None:
    """Let `gpurun lab shell` go on inside when the lab is a rootless one of this user."""
    from runner.lab import rootless

    if os.geteuid() != 0 and rootless.exists(name):
        rootless.use(this_command(), prepare=False)
