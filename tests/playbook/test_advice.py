"""Tasks that never run, drains that lose work, and values that readers of YAML disagree on."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.playbook.lint import lint
from runner.playbook.load import load_playbook, load_playbook_text


def of_conditions(when: str) -> list[str]:
    text = "- hosts: a\n  vars: {a: 1, b: 1}\n  tasks:\n    - name: T\n      debug: x\n"
    text += f"      when: {when}\n"
    return [problem.message for problem in lint(load_playbook_text(text, Path("p.yaml")))]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("false", "always false"),
        ("1 == 2", "always false"),
        ("a == 1 and false", "always false"),
        ("[a == 1, not a == 1]", "contradict"),
        ("[a == 1, 'a == 2']", "contradict"),
        ("b and not b", "contradict"),
        ("not b and b", "contradict"),
        ('a == "x" and (b == 1 and a == "y")', "contradict"),
    ],
)
def test_a_task_that_never_runs(when: str, why: str) -> None:
    (message,) = of_conditions(when)
    assert "the task never runs" in message and why in message


@pytest.mark.parametrize(
    "when",
    ["a == 1", "true", "a == 1 or a == 2", "[a == 1, b == 2]", "[a != 1, a != 2]", "a is defined"],
)
def test_a_task_that_may_run(when: str) -> None:
    assert of_conditions(when) == []


def test_what_stands_at_a_block_counts() -> None:
    text = "- hosts: a\n  vars: {a: 1}\n  tasks:\n    - when: a == 1\n      block:\n"
    text += "        - {name: T, debug: x, when: a == 2}\n"
    (only,) = lint(load_playbook_text(text, Path("p.yaml")))
    assert "contradict" in only.message and only.level == "warning"


@pytest.mark.parametrize(
    ("drain", "message"),
    [
        ("{force: true, delete_emptydir_data: true}", "deletes pods and data nobody recreates"),
        ("{force: true}", "deletes pods without a controller"),
        ("{grace_period: 0}", "kills pods without letting them end"),
        ("{timeout: 30}", "over before a pod has had its grace period of 30 s"),
        ("{timeout: 60, grace_period: 90}", "grace period of 90 s"),
        ("{ignore_daemonsets: false}", "fails on every node that runs a DaemonSet"),
        ("{disable_eviction: true}", "deletes pods past their PodDisruptionBudgets"),
        ("{timeout: 10m, grace_period: 60}", ""),
        ("{mode: none, timeout: 5}", ""),
    ],
)
def test_drains(drain: str, message: str) -> None:
    text = f"- hosts: a\n  drain: {drain}\n  tasks: []\n"
    found = lint(load_playbook_text(text, Path("p.yaml")))
    assert [message in problem.message for problem in found] == [True] * bool(message)
    assert all(str(problem.origin) == "p.yaml:2:3" for problem in found)


def surprising(folder: Path, text: str) -> list[str]:
    path = folder / "p.yaml"
    path.write_text(text)
    return [str(problem).removeprefix(f"{folder}/") for problem in lint(load_playbook(path))]


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("no", "false"),
        ("Yes", "true"),
        ("off", "false"),
        ("0644", "the number 420"),
        ("12:30:45", "the number 45045"),
    ],
)
def test_a_value_that_surprises(tmp_path: Path, value: str, meaning: str) -> None:
    (only,) = surprising(tmp_path, f"- hosts: a\n  vars:\n    x: {value}\n  tasks: []\n")
    assert only.startswith(f"p.yaml:3:8: {value} without quotes is {meaning}")
    assert f'Write "{value}".' in only
    quoted = f"- hosts: a\n  vars:\n    x: '{value}'\n  tasks: []\n"
    assert surprising(tmp_path, quoted) == []


def test_a_mode_surprises_and_a_flag_does_not(tmp_path: Path) -> None:
    text = (
        "- hosts: a\n  become: yes\n  tasks:\n    - name: T\n      file: {path: /x, mode: 0644}\n"
    )
    (only,) = surprising(tmp_path, text)
    assert only.startswith("p.yaml:5:30: 0644 without quotes")


def test_text_blocks_and_times_of_day_in_text_are_left_alone(tmp_path: Path) -> None:
    text = "- hosts: a\n  tasks:\n    - name: T\n      debug:\n        msg: |\n"
    text += "          x: 0644\n          y: no\n"
    assert surprising(tmp_path, text) == []


def test_files_of_variables_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "vars.yaml").write_text("x: no\n")
    (only,) = surprising(tmp_path, "- hosts: a\n  vars_files: [vars.yaml]\n  tasks: []\n")
    assert only.startswith("vars.yaml:1:4: no without quotes is false")
