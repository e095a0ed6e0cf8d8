"""Where an inventory is: `-i NAME`, a path, a folder, a program or a list of hosts."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from runner.errors import Origin, Problem
from runner.inventory.documents import add_hosts, read_yaml_inventory
from runner.inventory.ini import read_ini_inventory
from runner.inventory.program import is_program, read_program
from runner.inventory.toml import read_toml_inventory
from runner.inventory.tree import Tree
from runner.playbook.keywords import nearest

_YAML = (".yaml", ".yml", ".json")
_ENDINGS = (*_YAML, ".ini", ".toml")
_PASSED_OVER = (
    *("~", ".bak", ".cfg", ".md", ".orig", ".pyc", ".pyo"),
    *(".retry", ".rpm", ".rst", ".swp", ".txt"),
)
"""Ends of files in an inventory folder that are none (as Ansible does)."""
_VARIABLE_FOLDERS = ("group_vars", "host_vars", "vars_plugins")
_YAML_START = re.compile(r"---|\{|[^\[\s=]+:(\s|$)|\"[^\"]*\"\s*:|'[^']*'\s*:")


def add_source(tree: Tree, source: str, project: Path) -> None:
    """Add the hosts of one `-i`, and note where its group_vars and host_vars are."""
    tree.sources.append(source)
    tree.source = None
    if "," in source and not Path(source).exists():
        where = Origin(f"-i {source}")
        for name in filter(None, (part.strip() for part in source.split(","))):
            add_hosts(tree, "ungrouped", name, where)
        return
    path = find(source, project)
    if path is None:
        tree.problems.append(_missing(source, project))
        return
    path = shorter(path)
    tree.folders.append(path if path.is_dir() else path.parent)
    _add_path(tree, path)


def shorter(path: Path) -> Path:
    """The path as seen from here, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def find(source: str, project: Path) -> Path | None:
    """The file or folder a source names: in the project's inventory/ by name, else as a path."""
    if not source:
        return None
    if "/" not in source:
        named = project / "inventory" / source
        for path in (*(Path(f"{named}{ending}") for ending in _ENDINGS), named):
            if path.exists():
                return path
    for path in (Path(source), project / source):
        if path.exists():
            return path
    return None


def available(project: Path) -> list[str]:
    """Names of the inventories a project has."""
    folder = project / "inventory"
    if not folder.is_dir():
        return []
    names = {
        path.name.removesuffix(path.suffix) if path.suffix in _ENDINGS else path.name
        for path in folder.iterdir()
        if path.name not in _VARIABLE_FOLDERS and not _is_passed_over(path)
    }
    return sorted(names)


def _missing(source: str, project: Path) -> Problem:
    names = available(project)
    looked = project / "inventory"
    if not source:
        return Problem("-i is empty", None, "Name an inventory, a file, or host1,host2,.")
    file = source if Path(source).suffix in _ENDINGS else f"{source}.yaml"
    hint = (
        nearest(source, names)
        if names
        else f"Put {file} into {looked}; `gpurun lab up` writes inventory/lab.yaml."
    )
    if source == "lab" and "lab" not in names:
        hint = "Start the lab: gpurun lab up."
    return Problem(f"there is no inventory {source}", Origin(str(looked)), hint)


def _is_passed_over(path: Path) -> bool:
    return path.name.startswith(".") or path.name.endswith(_PASSED_OVER)


def _add_path(tree: Tree, path: Path, inside: bool = False) -> None:
    """Add a file, or each inventory of a folder.

    Args:
        inside: the file was found in a folder, where an empty one says nothing.
    """
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            if inner.name not in _VARIABLE_FOLDERS and not _is_passed_over(inner):
                _add_path(tree, inner, inside=True)
        return
    tree.source = path.absolute()
    if path.suffix not in _ENDINGS and os.access(path, os.X_OK) and is_program(path):
        read_program(tree, path)
    elif path.suffix == ".toml":
        read_toml_inventory(tree, path)
    elif path.suffix in _YAML or (not path.suffix and _looks_like_yaml(path)):
        read_yaml_inventory(tree, path, may_be_empty=inside)
    else:
        read_ini_inventory(tree, path)


def _looks_like_yaml(path: Path) -> bool:
    """Whether a file without an ending is YAML: it begins with ---, { or a key."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in islice(stream, 1000):
                text = line.split("#")[0].strip()
                if text:
                    return bool(_YAML_START.match(text))
    except OSError:
        return False
    return False
