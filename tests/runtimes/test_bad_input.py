"""What stands in the way of a runtime's configuration: each is told, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.facts.apt import PLANNED
from runner.facts.container_runtime import KEY, Daemons
from runner.facts.containerd import ContainerdState
from runner.facts.containerd import key as containerd_key
from runner.hosts.script import Command, Result
from runner.modules.base import Refused, Unknown
from tests.files.local import Local, run, snapshot

FIFTY_MIB = 50 * 1024 * 1024

MODULES = {
    "containerd": ("containerd_runtime", "config.toml", 'version = 2\nroot = "/var"\n'),
    "containerd, drop-in": ("containerd_runtime", "conf.d/99-nvidia.toml", "version = 2\n"),
    "CRI-O": ("crio_runtime", "conf.d/99-nvidia.toml", '[crio]\nroot = "/var"\n'),
    "Docker": ("docker_runtime", "daemon.json", '{"debug": true}\n'),
}


class Node:
    """A folder as a host with one of the runtimes, and the file that is written there."""

    def __init__(self, root: Path, name: str) -> None:
        self.module, self.name, self.text = MODULES[name]
        self.file = root / self.name
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.arguments: dict[str, Any] = {"path": str(self.file)}
        if self.name.startswith("conf.d"):
            self.arguments = {"path": str(root / "main"), "drop_in": str(self.file)}
        if name == "containerd, drop-in":
            self.arguments["mode"] = "drop_in"
        path = self.arguments["path"]
        states: dict[str, Any] = {KEY: Daemons(()), "docker-validator": False, PLANNED: False}
        states[containerd_key(path)] = ContainerdState(False, path)
        self.host = Local(root, extra=states)

    def plan(self, **more: Any) -> Any:
        arguments = {**self.arguments, **more}
        return self.host.plan(self.module, arguments, self.host.observe(self.module, arguments))


@pytest.fixture(params=MODULES)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    root = tmp_path / "host"
    root.mkdir()
    return Node(root, request.param)


def refused(node: Node, *patterns: str) -> None:
    """Both states are refused with all of these words; nothing is written."""
    before = snapshot(node.host.root) if node.file.is_dir() or node.file.is_symlink() else None
    for state in ("present", "absent"):
        with pytest.raises((Refused, Unknown)) as caught:
            node.plan(state=state)
        for pattern in patterns:
            assert pattern in str(caught.value), str(caught.value)
    assert before is None or snapshot(node.host.root) == before


def test_broken_text_names_line_and_column(node: Node) -> None:
    node.file.write_text(node.text + "\n[[[\n")
    refused(node, str(node.file), "line", "column", "nothing was changed")


def test_a_directory(node: Node) -> None:
    node.file.mkdir()
    refused(node, str(node.file), "directory")


def test_a_loop_of_links(node: Node) -> None:
    node.file.symlink_to(node.file.name)
    refused(node, str(node.file), "leads nowhere")


def test_fifty_megabytes(node: Node) -> None:
    with node.file.open("wb") as file:
        file.truncate(FIFTY_MIB)
    refused(node, str(node.file), str(FIFTY_MIB))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding(node: Node, encoding: str) -> None:
    comment = "" if node.module == "docker_runtime" else "# für\n"
    node.file.write_bytes((comment + node.text.replace("true", '"ü"')).encode(encoding))
    refused(node, str(node.file), "not UTF-8 text")


def write(node: Node, before: str = "") -> Result:
    """What writing the file says; `before` is shell that is run first, in the same mount of it."""
    change = next(c for c in node.plan().changes if c.diff and c.diff.path == str(node.file))
    (command,) = change.do
    assert isinstance(command, Command)
    return run(before + command.shell, command.stdin)


def test_a_file_that_changes_meanwhile_is_not_written_over(node: Node) -> None:
    node.file.write_text(node.text)
    change = next(c for c in node.plan().changes if c.diff and c.diff.path == str(node.file))
    assert run(change.guard).rc == 0
    node.file.write_text(node.text + "\n")
    assert run(change.guard).rc != 0


FULL = 'cat() { command cat | head -c 3; echo "cat: write error: No space left on device" >&2; }\n'
"""A `cat` that comes no further, as on a full disk."""


def test_no_space_leaves_the_old_file(node: Node) -> None:
    node.file.write_text(node.text)
    result = write(node, FULL)
    assert result.rc != 0
    assert "No space left" in result.error_text and "the old file is untouched" in result.error_text
    assert snapshot(node.host.root)[node.name][1] == node.text
    assert not list(node.file.parent.glob(".gpurun*"))


STUCK = 'mv() { echo "mv: cannot move: Operation not permitted" >&2; return 1; }\n'
"""A `mv` to an immutable file (chattr(1)), which the tests' file system may not have."""


def test_an_immutable_file_stays(node: Node) -> None:
    node.file.write_text(node.text)
    result = write(node, STUCK)
    assert result.rc != 0 and "Operation not permitted" in result.error_text
    assert snapshot(node.host.root)[node.name][1] == node.text
    assert not list(node.file.parent.glob(".gpurun*"))
