"""Filters on paths: of texts alone, no file is looked at. Paths are POSIX paths."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any


def path_join(paths: Any) -> str:
    """A list of parts as one path; an absolute part begins anew."""
    if isinstance(paths, str):
        return paths
    if isinstance(paths, list | tuple) and paths:
        return posixpath.join(*paths)
    raise ValueError(f"path_join: a list of parts is expected, not {paths!r}")


def commonpath(paths: Any) -> str:
    """The longest folder that all paths have in common."""
    if not isinstance(paths, list | tuple):
        raise ValueError(f"commonpath: a list of paths is expected, not {paths!r}")
    return posixpath.commonpath(paths)


def relpath(path: str, start: str) -> str:
    """The path as seen from the folder `start`. Both absolute, or both relative: a relative one
    would otherwise depend on where gpurun was started."""
    if posixpath.isabs(path) != posixpath.isabs(start):
        raise ValueError("relpath: give two absolute paths, or two relative ones")
    for given in (path, start):
        if posixpath.normpath(given).startswith(".."):
            raise ValueError(f"relpath: {given!r} depends on the folder that .. leaves")
    root = "" if posixpath.isabs(path) else "/"
    return posixpath.relpath(root + path, root + start)


def splitext(path: str) -> list[str]:
    return list(posixpath.splitext(path))


FILTERS: dict[str, Callable[..., Any]] = {
    "basename": lambda path: posixpath.basename(path),
    "commonpath": commonpath,
    "dirname": lambda path: posixpath.dirname(path),
    "normpath": lambda path: posixpath.normpath(path),
    "path_join": path_join,
    "relpath": relpath,
    "splitext": splitext,
}
TESTS: dict[str, Callable[..., bool]] = {
    "abs": lambda path: posixpath.isabs(path),
    "is_abs": lambda path: posixpath.isabs(path),
}
