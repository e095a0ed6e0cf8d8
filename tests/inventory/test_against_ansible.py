"""Inventories and patterns mean here what they mean to the real ansible-core.

Each folder in cases/ is an inventory: its only file, or what `args` gives.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.inventory.blame import as_graph, as_list, of
from runner.inventory.load import load_inventory, load_tree, select
from runner.inventory.tree import Tree

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.name for path in CASES.iterdir())
GRAPHS = ["ini-groups", "ini-ungrouped", "order-of-hosts", "program-with-meta", "yaml-nested"]
WITH_VARIABLES = ["ini-priority", "several-sources"]
PATTERNS = [
    "all",
    "*",
    "gpu",
    "a1",
    "h1,a1",
    "h1:a1",
    "h1 a1",
    "a100:h100",
    "a100,h100",
    "h100:a100",
    "gpu:&east",
    "gpu:!h100",
    "gpu,&east,!a1",
    "all:!gpu:&east",
    "!gpu",
    "&east",
    "a[!3]",
    "a?",
    "h*",
    "*.example.com",
    "host.example.com",
    "~^(a|h)1$",
    "~.*00",
    "~.*00:!h1",
    "gpu[0]",
    "gpu[1]",
    "gpu[-1]",
    "gpu[1:2]",
    "gpu[2:]",
    "gpu[0:0]",
    "gpu[0],gpu[-1]",
    "h*[0]",
    "all:!gpu[0:1]",
    "with-dash",
    "2001:db8::1",
    "2001:db8::1,a1",
    "both",
    "both:a1",
    "all:!both",
    "ungrouped",
]
FOR_PATTERNS = """
all: {hosts: {first: }, children: {h100: , a100: }}
gpu:
  children:
    h100: {hosts: {h1: , h2: }}
    a100: {hosts: {a1: , a2: , a3: }}
east: {hosts: {a1: , h2: , host.example.com: }}
with-dash: {hosts: {d1: }}
both: {hosts: {both: , a3: }}
six: {hosts: {"2001:db8::1": }}
"""


def arguments(case: str) -> list[str]:
    """The command line of a case."""
    given = CASES / case / "args"
    if given.exists():
        return given.read_text().split()
    (file,) = (path.name for path in (CASES / case).glob("hosts*"))
    return ["-i", file]


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Ansible's answers by case and view, and those for patterns by pattern."""
    folder = tmp_path_factory.mktemp("patterns")
    (folder / "hosts.yml").write_text(FOR_PATTERNS)
    views = [(case, "--list") for case in NAMES]
    views += [(case, "--graph") for case in GRAPHS]
    views += [(case, "--graph --vars") for case in WITH_VARIABLES]
    questions: list[dict[str, Any]] = [
        {"folder": str(CASES / case), "arguments": [*arguments(case), *view.split()]}
        for case, view in views
    ]
    patterns = {"folder": str(folder), "sources": ["hosts.yml"], "patterns": PATTERNS}
    done = subprocess.run(
        [sys.executable, "-m", "tests.inventory.ansible_side"],
        input="".join(json.dumps(question) + "\n" for question in [*questions, patterns]),
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    *shown, chosen = (json.loads(line) for line in done.stdout.splitlines())
    found = {f"{case} {view}": text for (case, view), text in zip(views, shown, strict=True)}
    return found | dict(zip(PATTERNS, chosen, strict=True))


def load(case: str, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.chdir(CASES / case)
    return load_tree([word for word in arguments(case) if word != "-i"], Path.cwd())


def meaning(value: Any) -> Any:
    """JSON of ansible-inventory without its marks, and with types that compare strictly."""
    if isinstance(value, dict):
        if value.keys() == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: meaning(item) for key, item in value.items() if key != "profile"}
    if isinstance(value, list):
        return [meaning(item) for item in value]
    return repr(value) if isinstance(value, bool | float | int) else value


@pytest.mark.parametrize("case", NAMES)
def test_list(case: str, ansible: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = json.loads(json.dumps(as_list(load(case, monkeypatch))))
    assert meaning(ours) == meaning(json.loads(ansible[f"{case} --list"]))


@pytest.mark.parametrize("case", GRAPHS)
def test_graph(case: str, ansible: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_graph(load(case, monkeypatch)) == ansible[f"{case} --graph"].rstrip("\n")


@pytest.mark.parametrize("case", WITH_VARIABLES)
def test_graph_with_variables(
    case: str, ansible: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = as_graph(load(case, monkeypatch), with_variables=True)
    assert ours == ansible[f"{case} --graph --vars"].rstrip("\n")


def test_one_host_and_runs_see_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = load("several-sources", monkeypatch)
    inventory = load_inventory(["one/hosts.yml", "two.ini", "extra,a1", "three"], Path.cwd())
    assert {name: of(tree, name) for name in tree.hosts} == {
        name: dict(host.variables) for name, host in inventory.hosts.items()
    }


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(
    pattern: str, ansible: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts.yml").write_text(FOR_PATTERNS)
    monkeypatch.chdir(tmp_path)
    inventory = load_inventory(["hosts.yml"], tmp_path)
    theirs = ansible[pattern]
    assert theirs, "each pattern of the table chooses something"
    assert [host.name for host in select(inventory, pattern)] == theirs
