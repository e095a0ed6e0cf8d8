"""Where an inventory is: `-i NAME`, a path, a folder, a program or a list of hosts."""

from __future__ import annotations

import os
from pathlib import Path

from runner.errors import Origin, Problem
from runner.inventory.documents import add_hosts, read_program, read_yaml_inventory
from runner.inventory.ini import read_ini_inventory
from runner.inventory.tree import Tree
from runner.playbook.document import Map
from runner.playbook.fields import kind_of
from runner.playbook.keywords import nearest
from runner.playbook.source import read_yaml

_YAML = (".yaml", ".yml", ".json")
_ENDINGS = (*_YAML, ".ini")
_PASSED_OVER = ("~", ".bak", ".cfg", ".md", ".orig", ".pyc", ".retry", ".rst", ".swp", ".txt")
"""Ends of files in an inventory folder that are none (as Ansible does)."""
_VARIABLE_FOLDERS = ("group_vars", "host_vars")


def add_source(tree: Tree, source: str, project: Path) -> None:
    """Add the hosts of one `-i`, and the group_vars and host_vars beside it."""
    tree.sources.append(source)
    if "," in source and not Path(source).exists():
        where = Origin(f"-i {source}")
        for name in filter(None, (part.strip() for part in source.split(","))):
            add_hosts(tree, "ungrouped", name, where)
        return
    path = find(source, project)
    if path is None:
        tree.problems.append(_missing(source, project))
        return
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    _add_path(tree, path)
    folder = path if path.is_dir() else path.parent
    _add_variable_files(tree, folder)


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


def _add_path(tree: Tree, path: Path) -> None:
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            if inner.name not in _VARIABLE_FOLDERS and not _is_passed_over(inner):
                _add_path(tree, inner)
    elif path.suffix not in _ENDINGS and os.access(path, os.X_OK):
        read_program(tree, path)
    elif path.suffix in _YAML or (not path.suffix and _looks_like_yaml(path)):
        read_yaml_inventory(tree, path)
    else:
        read_ini_inventory(tree, path)


def _looks_like_yaml(path: Path) -> bool:
    """Whether a file without an ending is YAML: its first line is --- or a key."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                text = line.split("#")[0].strip()
                if text:
                    return text == "---" or (text.endswith(":") and "[" not in text)
    except OSError:
        return False
    return False


def _add_variable_files(tree: Tree, folder: Path) -> None:
    """Add group_vars/NAME and host_vars/NAME, files or folders of files."""
    nowhere = Origin("")
    for name in ("all", "ungrouped"):
        tree.group(name, nowhere)
    for kind, entries in (("group_vars", tree.groups), ("host_vars", tree.hosts)):
        if not (folder / kind).is_dir():
            continue
        for name, entry in entries.items():
            for path in _variable_files(folder / kind / name):
                for key, value, where in _variables(tree, path):
                    entry.set(key, value, where, from_file=True)


def _variable_files(base: Path) -> list[Path]:
    """The files of one name: the first of NAME, NAME.yml, NAME.yaml, NAME.json."""
    if base.is_dir():
        return _files_below(base)
    for ending in ("", ".yml", ".yaml", ".json"):
        path = Path(f"{base}{ending}")
        if path.is_file():
            return [path]
    return []


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir():
            found += _files_below(path)
        elif path.suffix in ("", *_YAML):
            found.append(path)
    return found


def _variables(tree: Tree, path: Path) -> list[tuple[str, object, Origin]]:
    document = read_yaml(path, boolean_words=True)
    tree.problems += document.problems
    value = document.value
    if value is None:
        return []
    if not isinstance(value, Map):
        tree.note(f"expected a mapping of variables, found {kind_of(value)}", document.origin)
        return []
    return [(key, item, value.where(key) or document.origin) for key, item in value.items()]
