"""The same tasks and nodes for every tool, and the table that compares them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from benchmarks import tools
from benchmarks.table import Row, table
from benchmarks.targets import Target, write
from benchmarks.tools import Cost
from runner.playbook.load import load_playbook

TARGETS = [
    Target("n1", "198.18.0.10", 22, "ssh-ed25519 AAAA"),
    Target("n2", "127.0.0.1", 4022, "ssh-ed25519 BBBB"),
]


@pytest.mark.parametrize(("full", "tasks"), [(False, 3), (True, 5)])
def test_all_tools_do_the_same_number_of_tasks(full: bool, tasks: int, tmp_path: Path) -> None:
    texts = tools.playbooks(full)
    assert len(yaml.safe_load(texts["ansible.yaml"])[0]["tasks"]) == tasks
    body = ast.parse(texts["deploy.py"]).body
    assert sum(isinstance(line, ast.Expr) for line in body) == tasks
    (tmp_path / "gpurun.yaml").write_text(texts["gpurun.yaml"])
    (play,) = load_playbook(tmp_path / "gpurun.yaml").plays
    assert len(play.tasks) == tasks


def test_nodes_are_listed_for_every_tool(tmp_path: Path) -> None:
    files = write(tmp_path, TARGETS, Path("/key"))
    known = files.known_hosts.read_text()
    assert known == "198.18.0.10 ssh-ed25519 AAAA\n[127.0.0.1]:4022 ssh-ed25519 BBBB\n"
    hosts = yaml.safe_load(files.inventory.read_text())["all"]["hosts"]
    assert hosts["n2"] == {"ansible_host": "127.0.0.1", "ansible_port": 4022}
    listed = ast.literal_eval(files.pyinfra_inventory.read_text().partition(" = ")[2])
    assert [(name, data["ssh_port"]) for name, data in listed] == [("n1", 22), ("n2", 4022)]


def test_memory_counts_shared_pages_once() -> None:
    text = "5600-7ffc ---p 00000000 00:00 0   [rollup]\nRss:   9000 kB\nPss:   512 kB\n"
    assert tools.proportional_size(text) == 512 * 1024
    assert tools.proportional_size("") == 0


def test_ratios_are_to_gpurun_in_the_same_case() -> None:
    fast = Cost(seconds=2.0, client_cpu=0.5, node_cpu=3.0, memory=50 * 2**20)
    slow = Cost(seconds=9.0, client_cpu=8.0, node_cpu=30.0, memory=100 * 2**20)
    rows = [Row("1 full, 0 ms", "gpurun", fast, fast), Row("1 full, 0 ms", "other", slow, fast)]
    lines = table(rows).splitlines()
    assert lines[2].startswith("| 1 full, 0 ms | gpurun | 2.0 | 1.0 | 0.5 + 3.0 |")
    assert lines[3] == (
        "| 1 full, 0 ms | other | 9.0 | 4.5 | 8.0 + 30.0 | 2.0 | 1.0 | 0.5 + 3.0 | 100 |"
    )
