"""Variables in files: group_vars/NAME and host_vars/NAME, files or folders of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runner.errors import Origin
from runner.inventory.tree import Entry, Tree
from runner.playbook.document import Map
from runner.playbook.fields import kind_of
from runner.playbook.source import read_yaml

_ENDINGS = ("", ".yml", ".yaml", ".json")


def add_variable_files(tree: Tree) -> None:
    """Add the variables beside each source, and beside the playbook, to groups and hosts."""
    # A folder given twice counts where it is given last; later ones win.
    tree.folders = list(reversed(dict.fromkeys(reversed(tree.folders))))
    beside = tree.playbook_folder
    for folder in dict.fromkeys([*tree.folders, *([beside] if beside else [])]):
        _add_folder(tree, folder / "group_vars", tree.groups)
        _add_folder(tree, folder / "host_vars", tree.hosts)


def _add_folder(tree: Tree, folder: Path, entries: Mapping[str, Entry]) -> None:
    if not folder.is_dir():
        return
    there = {path.name for path in folder.iterdir()}
    for name, entry in entries.items():
        if "/" in name:
            continue
        for ending in _ENDINGS:
            if f"{name}{ending}" in there:
                for path in _files(folder / f"{name}{ending}"):
                    for key, value, where in _variables(tree, path):
                        entry.set(key, value, where, folder.parent)
                break


def _files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for inner in sorted(path.iterdir()):
        if inner.name.startswith(".") or inner.name.endswith("~"):
            continue
        if inner.is_dir() and not inner.suffix:
            found += _files(inner)
        elif inner.is_file() and inner.suffix in _ENDINGS:
            found.append(inner)
    return found


def _variables(tree: Tree, path: Path) -> list[tuple[str, object, Origin]]:
    document = read_yaml(path, yaml_1_1=True)
    tree.problems += document.problems
    value = document.value
    if value is None:
        return []
    if not isinstance(value, Map):
        tree.note(f"expected a mapping of variables, found {kind_of(value)}", document.origin)
        return []
    return [(key, item, value.where(key) or document.origin) for key, item in value.items()]
