"""--list-hosts, --list-tasks, --list-tags: what a run is about, without touching a host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.cli.main import cli

PLAYBOOK = """
- name: First
  hosts: gpu
  order: reverse_inventory
  tags: all_of_it
  tasks:
    - {name: One, command: x, tags: one}
    - {name: Two, command: x, notify: Then}
  handlers:
    - {name: Then, command: x}
- name: Second
  hosts: gpu:!b
  tasks:
    - {name: Three, command: x, tags: three}
"""


def listed(folder: Path, *options: str, verb: str = "plan") -> str:
    (folder / "p.yaml").write_text(PLAYBOOK)
    (folder / "hosts.yaml").write_text("gpu:\n  hosts: {a: {}, b: {}}\n")
    given = [verb, str(folder / "p.yaml"), "-i", str(folder / "hosts.yaml"), *options]
    done = CliRunner().invoke(cli, given, catch_exceptions=False)
    return done.output


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_everything(tmp_path: Path, verb: str) -> None:
    output = listed(tmp_path, "--list-hosts", "--list-tasks", "--list-tags", verb=verb)
    assert (
        output
        == """\
Play: First
  hosts: b, a
  tasks:
    One  [all_of_it, one]
    Two  [all_of_it]
  handlers:
    Then  [all_of_it]
  tags: all_of_it, one
Play: Second
  hosts: a
  tasks:
    Three  [three]
  tags: three
"""
    )


def test_tags_and_limit_count(tmp_path: Path) -> None:
    output = listed(tmp_path, "--list-hosts", "--list-tasks", "--tags", "one", "--limit", "a")
    assert output.splitlines()[:4] == [
        "Play: First",
        "  hosts: a",
        "  tasks:",
        "    One  [all_of_it, one]",
    ]
    assert "Second" not in output and "Two" not in output


def test_json(tmp_path: Path) -> None:
    made = json.loads(listed(tmp_path, "--list-tags", "--output", "json"))
    assert made == {
        "plays": [
            {"play": "First", "tags": ["all_of_it", "one"]},
            {"play": "Second", "tags": ["three"]},
        ]
    }
