"""What people complain about in the dry runs of other tools does not happen here.

One test for each complaint, numbered as such complaints are often collected: A, 1 to 7.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.cli.plan import plan as plan_verb
from runner.engine import run as engine
from runner.facts.base import load_fact
from runner.inventory.model import Host
from runner.modules.base import Unknown
from tests.engine.local_host import LocalHost
from tests.engine.plays import OneHost, statuses

PLAY = "- hosts: all\n  tasks:\n"


def test_a1_a_condition_on_a_result_that_is_not_there_yet_is_neither_true_nor_false(
    tmp_path: Path,
) -> None:
    one = OneHost(
        tmp_path,
        PLAY
        + f"""
    - {{name: ask, shell: echo yes, register: answer}}
    - {{name: if so, copy: {{content: x, dest: {tmp_path}/so}}, when: answer.stdout == "yes"}}
    - {{name: if not, copy: {{content: x, dest: {tmp_path}/not}}, when: answer.stdout != "yes"}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "deferred", "deferred"]
    assert "known after" in plan.steps[1].reason and "known after" in plan.steps[2].reason
    one.apply(plan)
    assert (tmp_path / "so").exists() and not (tmp_path / "not").exists()


def test_a2_not_chosen_and_not_predictable_are_told_apart(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        PLAY
        + """
    - {name: not chosen, command: "true", when: 1 == 2}
    - {name: not predictable, command: "true"}
    - {name: not needed, command: "true", args: {creates: /}}
""",
    )
    skipped, unpredictable, needless = one.plan().steps
    assert (skipped.status, "when" in skipped.reason) == ("skipped", True)
    assert [change.predictable for change in unpredictable.changes] == [False]
    assert (needless.status, needless.changes) == ("ok", ())


def test_a3_a_task_is_planned_from_what_the_tasks_before_it_will_leave(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x\n")
    one = OneHost(
        tmp_path,
        PLAY
        + f"""
    - {{name: remove, file: {{path: {tmp_path}/file, state: absent}}}}
    - {{name: write, copy: {{content: "x\\n", dest: {tmp_path}/file}}}}
    - {{name: again, copy: {{content: "x\\n", dest: {tmp_path}/file}}}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "change", "ok"]
    assert "create" in plan.steps[1].changes[0].summary
    assert one.apply(plan).changed == 2
    assert (tmp_path / "file").read_text() == "x\n"


def test_a4_a_look_that_fails_now_and_works_later_does_not_fail_the_host(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        PLAY
        + f"""
    - {{name: install the tool, shell: touch {tmp_path}/tool}}
    - {{name: needs it, copy: {{content: x, dest: {tmp_path}/file}}, when: facts.os.id != ""}}
""",
    )
    probe = load_fact("os").probe
    assert probe is not None
    one.observed[probe.key] = Unknown("the tool is not there")
    plan = one.plan()
    assert statuses(plan) == ["change", "deferred"]
    assert plan.problem is None
    assert "the tool is not there" in plan.steps[1].reason


def test_a5_changed_means_different_not_executed(tmp_path: Path) -> None:
    text = (
        PLAY
        + f"""
    - {{name: content, copy: {{content: "x\\n", dest: {tmp_path}/file, mode: "0640"}}}}
    - {{name: folder, file: {{path: {tmp_path}/folder, state: directory}}}}
    - {{name: guarded, shell: "touch {tmp_path}/mark", args: {{creates: "{tmp_path}/mark"}}}}
"""
    )
    one = OneHost(tmp_path, text)
    assert one.apply().changed == 3
    one.local.changes.clear()
    assert statuses(one.again()) == ["ok", "ok", "ok"]
    assert one.apply().changed == 0
    assert one.local.changes == []


def test_a6_what_cannot_be_predicted_does_not_end_the_plan(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        PLAY
        + f"""
    - {{name: first, shell: exit 1}}
    - {{name: second, shell: exit 1}}
    - {{name: third, copy: {{content: x, dest: {tmp_path}/third}}}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "change", "change"]
    assert [step.label for step in plan.steps if not step.changes[0].predictable] == [
        "first",
        "second",
    ]
    assert one.local.changes == []


class Connection(LocalHost):
    """Stands for the SSH connection."""

    def __init__(self, host: Host, **_: Any) -> None:
        super().__init__()

    def open(self) -> None: ...

    def close(self) -> None: ...


def test_a7_another_tool_learns_of_drift_from_the_exit_code_and_from_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(
        PLAY + f'    - {{name: file, copy: {{content: "x\\n", dest: {tmp_path}/file}}}}\n'
    )

    def planned() -> tuple[int, list[dict[str, Any]]]:
        code = plan_verb.main(["p.yaml", "-i", "gpu-1,", "-o", "json"], standalone_mode=False)
        return code, json.loads(capsys.readouterr().out)["changes"]

    code, changes = planned()
    assert (code, len(changes)) == (2, 1)
    assert changes[0]["task"] == "file" and changes[0]["before"] != changes[0]["after"]
    (tmp_path / "file").write_text("x\n")
    assert planned() == (0, [])
