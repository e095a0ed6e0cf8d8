"""gpurun inventory: what it shows, of which hosts, and what never."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runner.cli.inventory import inventory
from runner.errors import InputError

MARK = "«secret:ansible_become_password»"
PROD = """
all: {vars: {ansible_become_password: hunter2}}
gpu:
  vars: {rack: r1}
  children:
    a100: {hosts: {a1: {rack: r2}, a2: }}
    h100: {hosts: {h1: {kubernetes_labels: {nvidia.com/gpu.count: "8"}}}}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "prod.yaml").write_text(PROD)
    (tmp_path / "inventory" / "more.toml").write_text('[h100.hosts.a1]\nrack = "r3"\n')
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(
        inventory, ["-i", "prod", *arguments], standalone_mode=False, catch_exceptions=False
    )
    return done.output


def test_the_tree_is_what_is_shown_first() -> None:
    assert run().splitlines()[:3] == ["@all:", "  |--@ungrouped:", "  |--@gpu:"]
    assert run("h100", "-i", "more").splitlines() == ["@h100:", "  |--h1", "  |--a1"]


def test_the_tree_with_variables() -> None:
    lines = run("a100", "--vars", "-l", "a1").splitlines()
    assert lines == [
        "@a100:",
        "  |--a1",
        "  |  |--{ansible_become_password = «secret:ansible_become_password»}",
        "  |  |--{rack = r2}",
    ]


def test_list_is_narrowed_by_a_limit() -> None:
    found = json.loads(run("--list", "--limit", "gpu:!rack=r2"))
    assert found["_meta"]["hostvars"].keys() == {"a2", "h1"}
    assert found["a100"] == {"hosts": ["a2"]}
    assert found["gpu"] == {"children": ["a100", "h100"]}
    labelled = json.loads(run("--list", "-l", "nvidia.com/gpu.count=8"))
    assert labelled["_meta"]["hostvars"].keys() == {"h1"}
    assert "a100" not in labelled


def test_one_host() -> None:
    assert json.loads(run("--host", "a1")) == {"ansible_become_password": MARK, "rack": "r2"}
    assert "hunter2" not in run("--list") + run("--blame", "a1") + run("--vars")


def test_blame_names_every_place() -> None:
    assert run("-i", "more", "--blame", "a1").splitlines() == [
        f'ansible_become_password = "{MARK}"    inventory/prod.yaml:2:14 (all)',
        'rack = "r3"    inventory/more.toml:2:1 (a1)',
        '    over "r2"    inventory/prod.yaml:6:31 (a1)',
        '    over "r1"    inventory/prod.yaml:4:10 (gpu)',
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--list", "--host", "a1"], "Give one of --list, --graph, --host and --blame"),
        (["--list", "gpu"], "GROUP and --vars belong to --graph"),
        (["--host", "a1", "--limit", "a1"], "--limit goes with --list and --graph"),
    ],
)
def test_wrong_calls(arguments: list[str], message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        run(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpus"], "the inventory has no group gpus\n    Groups: gpu, a100, h100. Hosts: a1, a2"),
        (["--host", "a9"], "the inventory has no host a9\n    Groups: gpu"),
        (["--list", "-l", "t4"], "limit 't4' matches no host and no group"),
    ],
)
def test_what_is_not_there(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        run(*arguments)
    assert message in str(caught.value)
