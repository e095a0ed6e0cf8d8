"""Control groups of nodes: one each, since two systemd-nspawn in one group collide."""

from __future__ import annotations

import errno
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def hierarchies(root: Path = CGROUPS) -> list[Path]:
    """Hierarchies a node needs a group in: one with cgroup v2 alone, two on hybrid machines."""
    if (root / "cgroup.controllers").is_file():
        return [root]
    return [root / name for name in ("systemd", "unified") if (root / name).is_dir()]


def make(group: str) -> list[Path]:
    """Make a control group in every hierarchy; returns their folders."""
    folders = [hierarchy / group for hierarchy in hierarchies()]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return folders


PATIENCE = 10.0
"""Seconds a group may stay busy: killed processes are counted until the kernel has let them go."""


def remove(group: str) -> None:
    """Remove a group and those below it; their processes must have ended.

    Raises:
        OSError: a process still runs in one.
    """
    for hierarchy in hierarchies():
        top = hierarchy / group
        folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            if folder.is_dir():
                _remove(folder)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return folder.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
