"""Playbooks by path or by name: the project's own, and those gpurun brings along."""

from __future__ import annotations

import difflib
from pathlib import Path

from runner.errors import InputError, Problem
from runner.shipped import shipped

ENDINGS = (".yaml", ".yml")


def known_playbooks(project: Path) -> dict[str, Path]:
    """Playbooks that are found by name. The project's own win over the shipped ones.

    Args:
        project: the folder that has playbooks/.
    """
    found: dict[str, Path] = {}
    for folder in (shipped() / "playbooks", project / "playbooks"):
        if folder.is_dir():
            paths = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
            found.update({path.stem: path for path in paths})
    return dict(sorted(found.items()))


def find_playbook(name: str, project: Path) -> Path:
    """The playbook of a command line: a path as it is, else the project's, else a shipped one.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    path = Path(name)
    if path.exists():
        return path
    known = known_playbooks(project)
    if path.parent == Path() and _stem(path) in known and path.suffix in ("", *ENDINGS):
        return _short(known[_stem(path)])
    if _stem(path) in known:
        hint = f"The shipped one is found by its name: {_stem(path)}."
        raise InputError([Problem(f"{name}: no such file", None, hint)])
    if path.parent != Path() or path.suffix in ENDINGS:
        return path  # The loader says why it cannot be read.
    near = difflib.get_close_matches(name, known, 1)
    meant = f"Did you mean {near[0]}? " if near else ""
    hint = f"{meant}There are: {', '.join(known)}. Or give a path."
    raise InputError([Problem(f"there is no playbook {name}", None, hint)])


def _stem(path: Path) -> str:
    return path.stem if path.suffix in ENDINGS else path.name


def _short(path: Path) -> Path:
    """As seen from here where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path
