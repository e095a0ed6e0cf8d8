"""A host that is a folder: shell snippets run with the simulated nvidia-smi first in PATH."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from runner.facts.nvidia import GPUS, GPUS_KEY
from runner.hosts.script import Command, Result
from runner.lab.gpu import create
from runner.lab.gpu.commands import run
from runner.modules.base import Change, Context, Outcome
from runner.modules.mig import Mig, MigArguments
from runner.modules.mig_at_boot import PROBE, SCRIPT_TEXT, UNIT_TEXT
from tests.programs import Answer, answer_for

TOOLS = ("nvidia-smi", "modinfo", "fuser", "lspci", "lsmod", "dmesg")

SYSTEMCTL = """\
#!/bin/sh
# systemctl --no-reload enable|disable UNIT
wants={root}/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants"
case $2 in
enable) ln -sf "../$3" "$wants/$3" ;;
disable) rm -f "$wants/$3" ;;
*) exit 1 ;;
esac
"""
FOLDERS = ("/etc/gpurun", "/etc/systemd", "/usr/local/lib/gpurun")


class SimulatedHost:
    """Runs what a module plans as the engine would, without SSH."""

    def __init__(self, folder: Path, model: str, count: int = 1) -> None:
        self.root = folder / "root"
        self.bin = answer_for(TOOLS, folder, self._answer)
        (self.bin / "systemctl").write_text(SYSTEMCTL.format(root=self.root))
        (self.bin / "systemctl").chmod(0o755)
        create(self.root, model, count, "550.90.07")

    def _answer(self, tool: str, arguments: Sequence[str]) -> Answer:
        answer = run(tool, list(arguments), self.root)
        return answer.rc, answer.out, answer.err

    def sh(self, shell: str) -> Result:
        """Its folders are those below `root`."""
        path = f"{self.bin}:{os.environ['PATH']}"
        texts = [quote(text.rstrip()) for text in (SCRIPT_TEXT, UNIT_TEXT)]
        for number, text in enumerate(texts):  # What is written is written as it is.
            shell = shell.replace(text, f"<{number}>")
        for folder in FOLDERS:
            shell = shell.replace(folder, f"{self.root}{folder}")
        for number, text in enumerate(texts):
            shell = shell.replace(f"<{number}>", text)
        done = subprocess.run(
            ["sh", "-s"],
            input=shell.encode(),
            env={"PATH": path},
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def smi(self, *arguments: str) -> Result:
        return self.sh("nvidia-smi " + " ".join(f"'{one}'" for one in arguments))

    def observe(self) -> dict[str, Any]:
        assert GPUS.probe is not None
        kept = PROBE.parse(self.sh(PROBE.shell))
        return {GPUS_KEY: GPUS.probe.parse(self.sh(GPUS.probe.shell)), PROBE.key: kept}

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
