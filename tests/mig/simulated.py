"""A host that is a folder: shell snippets run with the simulated nvidia-smi first in PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import runner.lab.gpu as simulator
from runner.facts.nvidia import GPUS, GPUS_KEY
from runner.hosts.script import Command, Result
from runner.modules.base import Change, Context, Outcome
from runner.modules.mig import Mig, MigArguments

TOOLS = ("nvidia-smi", "modinfo", "fuser")


class SimulatedHost:
    """Runs what a module plans as the engine would, without SSH."""

    def __init__(self, folder: Path, model: str, count: int = 1) -> None:
        self.root = folder / "root"
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        package = Path(simulator.__file__).parent.parent
        for tool in TOOLS:
            script = self.bin / tool
            script.write_text(
                f"#!/bin/sh\nGPU_SIMULATOR_ROOT='{self.root}' PYTHONPATH='{package}' "
                f"exec '{sys.executable}' -S -m gpu {tool} \"$@\"\n"
            )
            script.chmod(0o755)
        simulator.create(self.root, model, count, "550.90.07")

    def sh(self, shell: str) -> Result:
        path = f"{self.bin}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-s"], input=shell.encode(), env={"PATH": path}, capture_output=True, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def smi(self, *arguments: str) -> Result:
        return self.sh("nvidia-smi " + " ".join(f"'{one}'" for one in arguments))

    def observe(self) -> dict[str, Any]:
        assert GPUS.probe is not None
        return {GPUS_KEY: GPUS.probe.parse(self.sh(GPUS.probe.shell))}

    def plan(self, observed: dict[str, Any] | None = None, **arguments: Any) -> Outcome:
        args = MigArguments(**arguments)
        return Mig().plan(args, observed or self.observe(), Context(host="gpu1"))

    def enact(self, change: Change) -> Result | None:
        """The first command that fails, if any; the guard has to hold."""
        if self.sh(change.guard).rc:
            raise AssertionError(f"the guard says that the host has changed: {change.guard}")
        return self.commands(change.do)

    def commands(self, commands: Any) -> Result | None:
        for command in commands:
            assert isinstance(command, Command)
            result = self.sh(command.shell)
            if result.rc:
                return result
        return None
