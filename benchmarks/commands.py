"""Commands that touch no host, in seconds of the whole process: what a person waits for."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.round_trips import PROJECT

TASKS = 500
RUNS = 5
LIMITS = {"help": 0.15, "lint": 0.5}
"""Seconds that gpurun may take."""

_FIVE = """\
    - name: File {n}
      copy: {{dest: "{{{{ folder }}}}/file-{n}", content: "{n}\\n", mode: "0644"}}
      when: inventory_hostname != "host-{n}"
    - name: Folder {n}
      file: {{path: "/srv/demo-{n}", state: directory, mode: "0755"}}
    - name: Service {n}
      service: {{name: "demo-{n}", state: started}}
      register: result_{n}
    - name: Command {n}
      command: {{cmd: "demo --number {n}", creates: "/var/lib/demo-{n}"}}
      when: result_{n} is changed
    - name: Check {n}
      assert: {{that: "folder != '{n}'"}}
"""


def playbook(tasks: int) -> str:
    """A playbook of so many tasks that gpurun and Ansible both take; a fifth of them each kind."""
    head = "- name: Many\n  hosts: all\n  become: true\n  vars:\n    folder: /etc/demo\n  tasks:\n"
    return head + "".join(_FIVE.format(n=number) for number in range(tasks // 5))


def lines(folder: Path) -> list[tuple[str, str, list[str]]]:
    """Which command, of which tool, and its words; ansible-core where it is installed."""
    path = folder / "many.yaml"
    path.write_text(playbook(TASKS))
    gpurun = str(Path(sys.executable).with_name("gpurun"))
    found = [
        ("help", "gpurun", [gpurun, "--help"]),
        ("lint", "gpurun", [gpurun, "lint", str(path)]),
    ]
    ansible = PROJECT / ".bench" / "ansible-core" / "bin" / "ansible-playbook"
    if ansible.exists():
        check = [str(ansible), "--syntax-check", "-i", "localhost,", str(path)]
        found += [
            ("help", "ansible-core", [str(ansible), "--version"]),
            ("lint", "ansible-core", check),
        ]
    return sorted(found, key=lambda line: line[0])


def seconds(words: Sequence[str]) -> float:
    """The middle of some runs, after one that fills the caches.

    Raises:
        RuntimeError: the command failed.
    """
    taken = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        done = subprocess.run(words, capture_output=True, check=False)
        taken.append(time.perf_counter() - began)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {(done.stdout + done.stderr).decode()[-500:]}")
    return statistics.median(taken[1:])


def measure() -> str:
    """A Markdown table of both commands and tools."""
    rows = [
        "| command | tool | s | limit |",
        "| --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for kind, tool, words in lines(Path(folder)):
            shown = " ".join([Path(words[0]).name, *words[1:]]).replace(f"{folder}/", "")
            limit = f"{LIMITS[kind]:.2f}" if tool == "gpurun" else ""
            rows.append(f"| `{shown}` | {tool} | {seconds(words):.2f} | {limit} |")
    return "\n".join(rows)
