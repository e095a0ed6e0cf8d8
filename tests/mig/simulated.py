"""A host that is a folder: shell snippets run with the simulated nvidia-smi first in PATH."""

from __future__ import annotations

import os
import subprocess
import threading
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

TOOLS = ("nvidia-smi", "modinfo", "fuser", "lspci", "lsmod", "dmesg")

ASK = """\
#!/bin/sh
cd '{folder}' || exit 99
for word in {tool} "$@"; do printf '%s\\0' "$word"; done >request
read -r rc <reply
cat err >&2
cat out
exit "$rc"
"""
"""A command that lets the test process answer: a Python process for each would take 50 ms."""


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
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.pipes = folder / "pipes"
        self.pipes.mkdir()
        for tool in TOOLS:
            script = self.bin / tool
            script.write_text(ASK.format(folder=self.pipes, tool=tool))
            script.chmod(0o755)
        (self.bin / "systemctl").write_text(SYSTEMCTL.format(root=self.root))
        (self.bin / "systemctl").chmod(0o755)
        for name in ("request", "reply"):
            os.mkfifo(self.pipes / name)
        create(self.root, model, count, "550.90.07")
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        """Answer the commands one after the other, as long as the test process lives."""
        while True:
            tool, *arguments = (self.pipes / "request").read_bytes().decode().split("\0")[:-1]
            answer = run(tool, arguments, self.root)
            (self.pipes / "out").write_text(answer.out)
            (self.pipes / "err").write_text(answer.err)
            (self.pipes / "reply").write_text(f"{answer.rc}\n")

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
