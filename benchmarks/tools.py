"""How each tool is called for the same tasks, and what one call costs. Only `measure` runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.round_trips import PROJECT, environment
from benchmarks.targets import Files
from runner.lab import cgroups

TOOLS = ("gpurun", "ansible-core", "pyinfra")
GROUP = "gpurun-benchmark"
"""Control group of the client's processes, those it leaves behind included."""

_POLL = 0.2
_PACKAGE, _VERSION = "nvidia-container-toolkit-base", "1.18.0-1"

_GPURUN = f"""\
- hosts: all
  become: true
  tasks:
    - command: {{cmd: hostname, read_only: true}}
    - apt: {{name: {_PACKAGE}, version: {_VERSION}}}
    - copy: {{dest: /etc/gpurun-benchmark, content: "hello\\n", mode: "0644"}}
"""
_GPURUN_FULL = """\
    - command: {cmd: modprobe nvidia, unless: "lsmod | grep -q '^nvidia '"}
    - service: {name: containerd, state: started, enabled: true}
"""
_ANSIBLE = f"""\
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - ansible.builtin.command: hostname
      changed_when: false
    - ansible.builtin.apt: {{name: {_PACKAGE}={_VERSION}, state: present}}
    - ansible.builtin.copy: {{dest: /etc/gpurun-benchmark, content: "hello\\n", mode: "0644"}}
"""
_ANSIBLE_FULL = """\
    - ansible.builtin.command: modprobe nvidia
      changed_when: false
    - ansible.builtin.systemd_service: {name: containerd, state: started, enabled: true}
"""
_PYINFRA = f"""\
from io import StringIO
from pyinfra.operations import apt, files, server, systemd
server.shell(name="hello", commands=["hostname"])
apt.packages(name="package", packages=["{_PACKAGE}={_VERSION}"], present=True)
files.put(name="file", src=StringIO("hello\\n"), dest="/etc/gpurun-benchmark", mode="644")
"""
_PYINFRA_FULL = """\
server.shell(name="module", commands=["modprobe nvidia"])
systemd.service(name="containerd", service="containerd", running=True, enabled=True)
"""
_ANSIBLE_CONFIG = """\
[defaults]
forks = 50
gathering = explicit
[ssh_connection]
pipelining = True
ssh_args = -o ControlMaster=auto -o ControlPersist=60s -o IdentitiesOnly=yes
control_path_dir = {folder}/cp
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one call. `memory`: bytes at its peak, shared pages counted once."""

    seconds: float
    client_cpu: float
    node_cpu: float
    memory: int


def playbooks(full: bool) -> dict[str, str]:
    """File name -> text: the same tasks, three for light nodes and five for full ones."""
    return {
        "gpurun.yaml": _GPURUN + (_GPURUN_FULL if full else ""),
        "ansible.yaml": _ANSIBLE + (_ANSIBLE_FULL if full else ""),
        "deploy.py": _PYINFRA + (_PYINFRA_FULL if full else ""),
    }


def command(tool: str, files: Files) -> list[str]:
    """The words that make a tool apply its playbook to all hosts at once."""
    folder = files.folder
    hosts = str(files.inventory)
    if tool == "gpurun":
        words = [sys.executable, "-m", "runner.cli.main", "apply", str(folder / "gpurun.yaml")]
        return [*words, "-i", hosts, "--yes", "--forks", "50"]
    binaries = PROJECT / ".bench" / tool / "bin"
    if tool == "ansible-core":
        return [str(binaries / "ansible-playbook"), "-i", hosts, str(folder / "ansible.yaml")]
    words = [str(binaries / "pyinfra"), "-y", "--parallel", "50"]
    return [*words, str(files.pyinfra_inventory), str(folder / "deploy.py")]


def installed() -> list[str]:
    """The tools that are there; `./dev bench` installs the others."""
    return [t for t in TOOLS if t == "gpurun" or (PROJECT / ".bench" / t / ".installed").exists()]


def version(tool: str) -> str:
    """Of an installed tool, as its own environment's metadata says."""
    package = "gpurun" if tool == "gpurun" else tool
    python = sys.executable if tool == "gpurun" else str(PROJECT / f".bench/{tool}/bin/python")
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def prepare(files: Files, full: bool) -> None:
    """Writes playbooks and configuration beside the inventories."""
    for name, text in playbooks(full).items():
        (files.folder / name).write_text(text)
    (files.folder / "ansible.cfg").write_text(_ANSIBLE_CONFIG.format(folder=files.folder))


def measure(tool: str, files: Files, node_group: str, limit: float) -> Cost:
    """Runs a tool to its end in a control group of its own.

    Args:
        node_group: control group of the nodes, whose CPU time is read before and after.
        limit: seconds after which it is ended.

    Raises:
        RuntimeError: it failed or was ended; with the end of its output.
    """
    group = cgroups.make(GROUP)[-1]
    nodes = cgroups.hierarchies()[-1] / node_group
    before, nodes_before, began = _cpu(group), _cpu(nodes), time.monotonic()
    process = _start(command(tool, files), files.folder, group)
    timer = threading.Timer(limit, _end, [group])
    timer.start()
    with _Memory(group) as memory:
        output = process.communicate()[0].decode("utf-8", "replace")
    seconds = time.monotonic() - began
    timer.cancel()
    cost = Cost(seconds, _cpu(group) - before, _cpu(nodes) - nodes_before, memory.peak)
    _end(group)
    if process.returncode:
        raise RuntimeError(f"{tool} ended with {process.returncode}:\n{output[-3000:]}")
    return cost


def _start(words: Sequence[str], folder: Path, group: Path) -> subprocess.Popen[bytes]:
    join = f'echo $$ >"{group}/cgroup.procs" && exec "$@"'
    settings: Mapping[str, str] = {
        **environment(folder),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "LANG": "C.UTF-8",
    }
    return subprocess.Popen(
        ["sh", "-c", join, "sh", *words],
        cwd=PROJECT,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _cpu(group: Path) -> float:
    """Seconds of CPU time that a control group has used."""
    lines = (group / "cpu.stat").read_text().splitlines()
    return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("usage_usec"))


def _members(group: Path) -> list[int]:
    return [int(line) for line in (group / "cgroup.procs").read_text().split()]


def _end(group: Path) -> None:
    """Ends what is left in the group: ControlPersist keeps ssh processes for a minute."""
    for process in _members(group):
        try:
            os.kill(process, signal.SIGTERM)
        except ProcessLookupError:
            continue


class _Memory:
    """Watches the proportional set size of all processes of a control group."""

    def __init__(self, group: Path) -> None:
        self.peak = 0
        self._group = group
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_POLL):
            self.peak = max(self.peak, sum(_size(process) for process in _members(self._group)))


def _size(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0  # It has ended meanwhile.
    return proportional_size(text)


def proportional_size(rollup: str) -> int:
    """Bytes of `Pss` in the text of /proc/PID/smaps_rollup; 0 when there is none."""
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
