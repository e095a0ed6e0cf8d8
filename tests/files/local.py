"""Runs a module against a folder of this machine, with the same shell a host would run."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from runner.hosts.script import Command, Result
from runner.modules.base import Change, Context, Outcome, Probe
from runner.modules.files.state import FileState, key
from runner.modules.registry import load_module

DEADLINE = 120.0


def run(shell: str, stdin: bytes = b"") -> Result:
    """One command as a host would run it."""
    done = subprocess.run(
        ["sh", "-c", shell], input=stdin, capture_output=True, timeout=DEADLINE, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


@dataclass
class Local:
    """A folder that stands for a host's root; the folders above it are not looked at."""

    root: Path
    files: Mapping[str, bytes] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """States of probes that are not about files, or that are given instead of read."""

    @property
    def context(self) -> Context:
        return Context(host="node", read=self.files.__getitem__, template=self._render)

    @staticmethod
    def _render(text: str, name: str) -> str:
        return str(jinja2.Template(text).render(inventory_hostname="node"))

    def look(self, probes: Sequence[Probe]) -> dict[str, Any]:
        return {probe.key: self._state(probe) for probe in probes}

    def _state(self, probe: Probe) -> Any:
        if probe.key in self.extra:
            return self.extra[probe.key]
        path = Path(probe.key.partition(":")[2])
        if path == self.root or path in self.root.parents:
            return FileState(str(path), "directory", 0o755, "root", "root", 0, 0)
        return probe.parse(run(probe.shell, probe.stdin))

    def observe(self, module: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        loaded = load_module(module)
        return self.look(loaded.probes(loaded.arguments(**arguments), self.context))

    def plan(
        self, module: str, arguments: Mapping[str, Any], observed: Mapping[str, Any]
    ) -> Outcome:
        loaded = load_module(module)
        return loaded.plan(loaded.arguments(**arguments), observed, self.context)

    def apply(self, change: Change) -> None:
        """Guard, then do; both must succeed."""
        assert change.guard, "a change of a file is always guarded"
        guard = run(change.guard)
        assert guard.rc == 0, f"the guard says drifted: {change.guard}\n{guard.error_text}"
        self.do(change.do)

    def do(self, commands: Sequence[Any]) -> None:
        for command in commands:
            assert isinstance(command, Command)
            result = run(command.shell, command.stdin)
            assert result.rc == 0, f"{command.shell}\n{result.error_text}"


def build(root: Path, tree: Mapping[str, Any]) -> None:
    """Make files: a text is a file's content; a mapping has content, mode, link or directory."""
    for name, what in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = what if isinstance(what, dict) else {"content": what}
        if "link" in entry:
            path.symlink_to(str(entry["link"]).replace("ROOT", str(root)))
            continue
        if entry.get("directory"):
            path.mkdir()
        else:
            path.write_bytes(entry["content"].encode())
        path.chmod(int(entry.get("mode", "0755" if entry.get("directory") else "0644"), 8))


def snapshot(root: Path) -> dict[str, tuple[str, str]]:
    """Every path below the root: kind with mode, and content or link target."""
    found: dict[str, tuple[str, str]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = f"{stat.S_IMODE(path.lstat().st_mode):04o}"
            if path.is_symlink():
                found[str(path.relative_to(root))] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[str(path.relative_to(root))] = (f"directory {mode}", "")
            else:
                text = path.read_bytes().decode("utf-8", "surrogateescape")
                found[str(path.relative_to(root))] = (f"file {mode}", text)
    return found


def overlaid(observed: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """What will have been observed after the planned changes."""
    merged = dict(observed)
    for change in outcome.changes:
        merged.update(change.overlay)
    return merged


__all__ = ["Local", "build", "key", "overlaid", "run", "snapshot"]
