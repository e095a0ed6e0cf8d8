"""Files on nodes whose connection ends in the middle of a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Program, read_until, until

pytestmark = pytest.mark.lab

NODE = "gpu-a2"
SLOW = """#!/bin/sh
touch /run/validating
exec sleep 8
"""


def seen(host: Any) -> str:
    """All in the folder, and the bytes of the file."""
    return str(host.check_output("ls -A /etc/lab; cat /etc/lab/daemon.conf; stat -c %a /etc/lab/*"))


def test_a_connection_that_ends_leaves_the_old_file_or_the_new_one(
    fresh: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    host = fresh.host(NODE)
    host.check_output("mkdir /etc/lab && echo old > /etc/lab/daemon.conf")
    host.check_output(f"printf %s '{SLOW}' > /usr/local/bin/slow && chmod +x /usr/local/bin/slow")
    playbook = tmp_path / "files.yaml"
    playbook.write_text(
        """
- name: a daemon's file
  hosts: gpu
  become: true
  tasks:
    - name: settings
      copy: {content: "new\\n", dest: /etc/lab/daemon.conf, mode: "0600", validate: slow %s}
"""
    )
    before = seen(host)
    process = program.start("apply", str(playbook), "--yes", "--limit", NODE)
    read_until(process, "settings ...")
    until(lambda: bool(host.file("/run/validating").exists), "the new file is validated")
    end = "nohup sh -c 'sleep 1; pkill -KILL -u ops sshd' > /dev/null 2>&1 &"
    host.check_output(end)  # our own connection too, once this is answered
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1 and f"{NODE}: unreachable" in output, output
    until(lambda: host.run("pgrep -fx 'sleep 8'").rc != 0, "the validation has ended")
    until(lambda: ".gpurun" not in seen(host), "what was beside the file is gone")
    new = "daemon.conf\nnew\n600\n"
    assert seen(host) in (before, new.rstrip("\n"))

    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert host.file("/etc/lab/daemon.conf").content_string == "new\n"
    back = program.on_lab("apply", str(playbook), "--yes", "--limit", NODE)
    assert "no change" in back.stdout
