"""A host for engine tests: the same commands, run by the local `sh`, without SSH."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from runner.errors import UnreachableError
from runner.hosts.script import Block, BlockResult, Command, Result

UNCHANGING: set[str] = set()
"""The folders above those of the tests, on this machine."""


@dataclass
class LocalHost:
    """Counts its execs; can be told to break."""

    looks: list[list[str]] = field(default_factory=list)
    changes: list[list[str]] = field(default_factory=list)
    breaks_at_change: bool = False

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        self.looks.append([command.key for command in commands])
        return {command.key: _looked(command) for command in commands}

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        if self.breaks_at_change:
            raise UnreachableError("the connection broke")
        self.changes.append([block.key for block in blocks])
        results: list[BlockResult] = []
        for block in blocks:
            if results and results[-1].status != "done":
                results.append(BlockResult(block.key, "not run"))
            else:
                results.append(_block(block))
        return results

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        if ask is not None:
            ask()
        self.changes.append(["reboot"])


def _looked(command: Command) -> Result:
    """The look at a folder that tests do not change is the same each time."""
    kind, _, path = command.key.partition(":")
    return _unchanging(command) if kind == "file" and path in UNCHANGING else execute(command)


def _block(block: Block) -> BlockResult:
    if block.guard is not None:
        guard = execute(block.guard)
        if guard.rc != 0:
            return BlockResult(block.key, "drifted", guard)
    done: list[Result] = []
    status = "done"
    for command in block.do:
        done.append(execute(command))
        if done[-1].rc != 0:
            status = "failed"
            break
    reread = {command.key: execute(command) for command in block.reread}
    return BlockResult(block.key, status, None, tuple(done), reread)


def execute(command: Command) -> Result:
    """One command, as a host would run it."""
    done = subprocess.run(
        ["sh", "-c", command.shell], input=command.stdin, capture_output=True, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


_unchanging = cache(execute)
