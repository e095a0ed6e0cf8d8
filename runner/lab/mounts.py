"""Mounts below a folder, and removing a folder without reaching through one of them."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from runner.errors import GpurunError
from runner.lab.commands import run, succeeds
from runner.lab.layout import is_rootless


def below(folder: Path, table: str | None = None) -> list[Path]:
    """Mount points at or below `folder`, the last mounted first.

    Args:
        table: text of a mountinfo file (proc(5)); None: this process's own.
    """
    text = table if table is not None else Path("/proc/self/mountinfo").read_text()
    points = [Path(unescape(line.split()[4])) for line in text.splitlines()]
    return [point for point in reversed(points) if point.is_relative_to(folder)]


def unescape(text: str) -> str:
    r"""Undo mountinfo's octal escapes: `\040` is a space."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def unmount_below(folder: Path) -> None:
    """Unmount everything at or below `folder`; what is still in use is detached."""
    for point in below(folder):
        if not succeeds(["umount", point]):
            succeeds(["umount", "--lazy", point])
    left = below(folder)
    if left:
        raise GpurunError(
            f"{left[0]} cannot be unmounted",
            f"See what uses it: fuser -vm {left[0]}",
        )


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, never what is mounted there."""
    unmount_below(folder)
    if folder.is_dir():
        shutil.rmtree(folder)


def mount(kind: str, source: str, target: Path, options: str) -> None:
    """Mount a file system of `kind` on `target`, which is made when missing."""
    target.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", kind, source, target, "-o", options], what=f"mounting {target}")


def overlay(target: Path, lower: list[Path], upper: Path, work: Path) -> None:
    """Mount an overlay: `lower` from the top down, writes go to `upper`."""
    upper.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    layers = ":".join(str(path) for path in lower)
    # Ordinary users may not write the attributes overlay file systems use by default.
    more = ",userxattr" if is_rootless() else ""
    mount("overlay", "gpurun", target, f"lowerdir={layers},upperdir={upper},workdir={work}{more}")


def holds_attributes(folder: Path) -> bool:
    """Whether the file system there has user attributes; tmpfs has since Linux 6.6."""
    try:
        os.setxattr(folder, "user.gpurun", b"1")
    except OSError:
        return False
    os.removexattr(folder, "user.gpurun")
    return True


def resize(target: Path, size: str) -> bool:
    """Change the size of a tmpfs; False when it holds more than that, or is not mounted."""
    return succeeds(["mount", "-o", f"remount,size={size}", target])
