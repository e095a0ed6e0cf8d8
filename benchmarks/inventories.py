"""python -m benchmarks.inventories: 5,000 hosts in 200 groups, listed by gpurun and by Ansible."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

HOSTS, GROUPS = 5_000, 200
RUNS = 3
"""Calls of each tool; the fastest counts."""


def write(folder: Path, hosts: int = HOSTS, groups: int = GROUPS) -> list[Path]:
    """The same inventory as YAML, INI, and the JSON of a program; each file."""
    per_group = hosts // groups
    names = {
        f"group{group:03}": range(group * per_group, (group + 1) * per_group)
        for group in range(groups)
    }
    files = {
        "hosts.yaml": "\n".join(_yaml(names)),
        "hosts.ini": "\n".join(_ini(names)),
        "program": f"#!/bin/sh\ncat <<'END'\n{json.dumps(_listing(names))}\nEND",
    }
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    (folder / "program").chmod(0o755)
    return [folder / name for name in files]


def _variables(number: int) -> dict[str, Any]:
    address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
    return {"ansible_host": address, "slot": number % 8, "kubernetes_node": f"ip-{number}"}


def _name(number: int) -> str:
    return f"gpu{number:05}.example.com"


def _yaml(names: dict[str, range]) -> Iterator[str]:
    yield "all:\n  vars: {ansible_user: ops}\n  children:"
    for group, numbers in names.items():
        yield f"    {group}:\n      vars: {{rack: {group}}}\n      hosts:"
        for number in numbers:
            yield f"        {_name(number)}:"
            yield from (f"          {key}: {value}" for key, value in _variables(number).items())


def _ini(names: dict[str, range]) -> Iterator[str]:
    yield "[all:vars]\nansible_user=ops"
    for group, numbers in names.items():
        yield f"[{group}]"
        for number in numbers:
            words = (f"{key}={value}" for key, value in _variables(number).items())
            yield f"{_name(number)} {' '.join(words)}"
        yield f"[{group}:vars]\nrack={group}"


def _listing(names: dict[str, range]) -> dict[str, Any]:
    hostvars = {_name(n): _variables(n) for numbers in names.values() for n in numbers}
    groups = {
        group: {"hosts": [_name(n) for n in numbers], "vars": {"rack": group}}
        for group, numbers in names.items()
    }
    everything = {"vars": {"ansible_user": "ops"}, "children": list(names)}
    return {"_meta": {"hostvars": hostvars}, "all": everything, **groups}


def command(tool: str, file: Path) -> list[str]:
    """How a tool of this Python environment lists an inventory."""
    return [str(Path(sys.executable).with_name(tool)), *_VERBS[tool], "-i", str(file), "--list"]


_VERBS = {"gpurun": ["inventory"], "ansible-inventory": []}


def measure(tool: str, file: Path) -> tuple[float, float, Any]:
    """Seconds and CPU seconds of the fastest of some calls, and what the tool printed."""
    costs = []
    for _ in range(RUNS):
        started, used = time.perf_counter(), _cpu()
        done = subprocess.run(command(tool, file), capture_output=True, check=True, timeout=300)
        costs.append((time.perf_counter() - started, _cpu() - used))
    return min(costs)[0], min(cpu for _, cpu in costs), json.loads(done.stdout)


def _cpu() -> float:
    """CPU seconds of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@click.command()
def main() -> None:
    """Print a table: each form of the inventory, each tool."""
    click.echo(f"{HOSTS} hosts in {GROUPS} groups, --list, the whole process; seconds (CPU)\n")
    click.echo("| inventory | gpurun | ansible-inventory | ratio of CPU |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for file in write(Path(folder)):
            ours, our_cpu, listed = measure("gpurun", file)
            theirs, their_cpu, expected = measure("ansible-inventory", file)
            if listed["_meta"]["hostvars"] != expected["_meta"]["hostvars"]:
                raise SystemExit(f"benchmarks: the tools disagree about {file.name}")
            click.echo(
                f"| {file.name} | {ours:.2f} ({our_cpu:.2f}) | {theirs:.2f} ({their_cpu:.2f}) "
                f"| {their_cpu / our_cpu:.1f} |"
            )


if __name__ == "__main__":
    main()
