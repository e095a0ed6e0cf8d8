"""How long a whole `gpurun plan` of many nodes takes against the lab's API.

What a person waits for, but for the hosts: they answer at once and do nothing (`without_hosts.py`).
Real ones are looked at by SSH and work with their own CPUs. The one task sets a label, and says
that GPU pods, or all pods, have to go for it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.drains import NODES, PODS, objects
from benchmarks.round_trips import PROJECT
from runner.lab.kube.faults import Fault, Faults
from runner.lab.kube.kinds import KIND
from runner.lab.kube.server import ApiServer
from runner.lab.kube.store import Store

MODES = ("gpu", "full")
LIMIT = 5.0
"""Seconds that a plan of 200 nodes may take on two quiet cores."""
_CHANGES_PENDING = 2
"""Exit status of `gpurun plan`."""

_PLAYBOOK = """\
- name: Nodes are taken out of service
  hosts: all
  tasks:
    - name: A label
      node_label: {labels: {example.com/benchmark: "1"}}
      disruption: gpu
  drain: {mode: MODE, delete_emptydir_data: true}
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """What one plan took and asked for.

    Args:
        cpu: seconds of the CPU, of gpurun.
        served: the same, of the lab's API.
        requests: to the API, by method and resource.
        going: pods that would go.
    """

    seconds: float
    cpu: float
    served: float
    requests: Mapping[str, int]
    going: int


class _Noted(Faults):
    """No faults; every request is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def take(self, method: str, path: str) -> Fault | None:
        resource = "evictions" if path.endswith("/eviction") else path.rpartition("/")[2]
        self.asked[f"{method} {resource}"] += 1
        return super().take(method, path)


def measure(nodes: int = NODES, pods: int = PODS) -> str:
    """Both modes of a drain, as lines of text."""
    return "\n".join(told(mode, nodes, pods, plan(mode, nodes, pods)) for mode in MODES)


def told(mode: str, nodes: int, pods: int, planned: Planned) -> str:
    """A plan in words."""
    asked = ", ".join(f"{count} {what}" for what, count in sorted(planned.requests.items()))
    return (
        f"gpurun plan, drain mode {mode}: {nodes} nodes with {pods} pods each in "
        f"{planned.seconds:.1f} s ({planned.cpu:.1f} CPU s, the API {planned.served:.1f} CPU s, "
        f"limit {LIMIT:g} s); {asked}"
    )


def plan(mode: str, nodes: int, pods: int) -> Planned:
    """One `gpurun plan`, a process of its own, of so many nodes. A third of the pods use a GPU.

    Raises:
        RuntimeError: it failed, or not all pods that should go would go.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store()
        for kind, item in objects(nodes, pods):
            store.put(KIND[kind], {"apiVersion": KIND[kind].api_version, "kind": kind, **item})
        server = ApiServer(store, folder, "127.0.0.1", 0)
        server.faults = noted = _Noted()
        server.start()
        try:
            planned = _run(folder, mode, nodes, noted)
        finally:
            server.stop()
    wanted = nodes * len(range(0, pods, 3)) if mode == "gpu" else nodes * pods
    if planned.going != wanted:
        raise RuntimeError(f"{planned.going} pods would go, not {wanted}")
    return planned


def _run(folder: Path, mode: str, nodes: int, noted: _Noted) -> Planned:
    name = str(folder)
    (folder / "playbook.yaml").write_text(_PLAYBOOK.replace("MODE", mode))
    hosts: dict[str, object] = {f"node-{number}": {} for number in range(nodes)}
    (folder / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts}}))
    words = [sys.executable, "-m", "benchmarks.without_hosts", "plan", "playbook.yaml"]
    words += ["-i", "hosts.yaml", "--kubeconfig", "kubeconfig"]
    environment = {**os.environ, "HOME": name, "XDG_STATE_HOME": name, "PYTHONPATH": str(PROJECT)}
    began, before = time.monotonic(), os.times()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    seconds, after = time.monotonic() - began, os.times()
    if done.returncode != _CHANGES_PENDING:
        raise RuntimeError(f"gpurun plan: {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    served = after.user + after.system - before.user - before.system
    return Planned(seconds, cpu, served, dict(noted.asked), _going(done.stdout))


def _going(text: str) -> int:
    """The pods that the plan's text counts."""
    found = re.findall(r"^    drain: evicts (\d+) pods?\b", text, re.MULTILINE)
    return sum(map(int, found))
