"""Registered results: what a condition may ask of them, before and after the change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.plays import OneHost, statuses


def play(tasks: str, handlers: str = "", name: str = "results") -> str:
    text = f"- name: {name}\n  hosts: all\n  tasks:\n{tasks}"
    return text + (f"  handlers:\n{handlers}" if handlers else "")


@pytest.mark.parametrize(
    ("task", "holds"),
    [
        ("debug: x", "not x.failed and x is not failed and x is success and x is not changed"),
        ("command: {cmd: 'true', read_only: true}", "x.rc == 0 and x is not skipped"),
        ("debug: x\n      when: false", "x is skipped and not x.failed and not x.changed"),
        (
            "command: {cmd: 'false', read_only: true}\n      ignore_errors: true",
            "x is failed and x.rc == 1 and 'exited 1' in x.msg",
        ),
        (
            "command: {cmd: 'false', read_only: true}\n      failed_when: x.rc > 1",
            "x is not failed and x.rc == 1",
        ),
        (
            "command: {cmd: 'true', read_only: true}\n      changed_when: x.rc == 0",
            "x is changed",
        ),
        (
            'debug: "{{ item }}"\n      loop: [a, b]',
            "x.results[1].item == 'b' and x.results[0].ansible_loop_var == 'item' "
            "and x is not failed and not x.changed and not x.skipped",
        ),
        (
            "debug: \"{{ item }}\"\n      loop: [a, b]\n      when: item == 'z'",
            "x is skipped and x.results[0] is skipped",
        ),
        ('debug: "{{ item }}"\n      loop: []', "x is skipped and x.results == []"),
    ],
)
def test_results_known_to_a_plan(tmp_path: Path, task: str, holds: str) -> None:
    tasks = f'    - {task}\n      register: x\n    - assert:\n        that: ["{holds}"]\n'
    plan = OneHost(tmp_path, play(tasks)).plan()
    assert plan.problem is None, plan.problem
    assert statuses(plan)[-1] == "ok"


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("x is changed", "ok"),
        ("not x.failed", "ok"),
        ("x is skipped", "skipped"),
        ("x.rc == 0", "deferred"),
    ],
)
def test_what_is_sure_of_a_change_to_come(tmp_path: Path, condition: str, status: str) -> None:
    tasks = f"    - shell: echo\n      register: x\n    - debug: y\n      when: {condition}\n"
    assert statuses(OneHost(tmp_path, play(tasks)).plan()) == ["change", status]


@pytest.mark.parametrize("key", ["ignore_errors: true", "changed_when: x.rc == 1"])
def test_what_is_not_sure_waits(tmp_path: Path, key: str) -> None:
    condition = "x is failed" if "ignore" in key else "x is changed"
    tasks = f"""    - shell: exit 1
      register: x
      {key}
    - debug: y
      when: {condition}
"""
    assert statuses(OneHost(tmp_path, play(tasks)).plan()) == ["change", "deferred"]


def test_failed_when_alone_says_what_a_failure_is(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        play(
            f"""    - shell: echo some; exit 3
      register: x
      failed_when: x.rc not in [0, 3]
    - copy: {{content: "{{{{ x.stdout }}}} {{{{ x.rc }}}}", dest: {tmp_path}/kept}}
"""
        ),
    )
    assert one.apply().status == "changed"
    assert (tmp_path / "kept").read_text() == "some 3"


def test_failed_when_does_not_take_the_place_of_expect(tmp_path: Path) -> None:
    tasks = "    - shell: {cmd: exit 3, expect: [0, 1]}\n      failed_when: false\n"
    assert OneHost(tmp_path, play(tasks)).apply().status == "failed"


def test_items_of_a_loop_that_ran_are_told_apart(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        play(
            f"""    - shell: exit {{{{ item }}}}
      loop: [0, 3]
      register: x
      ignore_errors: true
    - copy:
        content: "{{{{ x.results | selectattr('failed') | map(attribute='item') | list }}}}
          {{{{ x.failed }}}} {{{{ x.results[1].rc }}}}"
        dest: {tmp_path}/kept
"""
        ),
    )
    assert one.apply().status == "changed"
    assert (tmp_path / "kept").read_text() == "[3] True 3"


# -- changed_when ------------------------------------------------------------------------------

CHANGED_WHEN = """    - shell: "{command}"
      register: x
      changed_when: "'changed' in x.stdout"
      notify: restart
"""
RESTART = "    - name: restart\n      shell: echo ran >> {folder}/restarts\n"


def changed_when(folder: Path, command: str) -> OneHost:
    tasks = CHANGED_WHEN.format(command=command)
    return OneHost(folder, play(tasks, RESTART.format(folder=folder), f"changed when {folder}"))


def test_a_plan_does_not_know_what_changed_when_will_say(tmp_path: Path) -> None:
    plan = changed_when(tmp_path, "echo changed").plan()
    assert statuses(plan) == ["change", "deferred"]
    assert plan.steps[1].reason == "runs if it is notified"


def test_a_command_that_says_it_changed_something_notifies(tmp_path: Path) -> None:
    one = changed_when(tmp_path, "echo changed")
    result = one.apply()
    assert (result.status, result.changed) == ("changed", 2)
    assert (tmp_path / "restarts").read_text() == "ran\n"


def test_a_command_that_says_it_changed_nothing_does_not(tmp_path: Path) -> None:
    one = changed_when(tmp_path, "echo the same")
    result = one.apply()
    assert (result.status, result.changed) == ("ok", 0)
    assert not (tmp_path / "restarts").exists()
    assert statuses(one.again()) == ["change", "deferred"], "no mark is left of the notification"


def test_another_task_of_the_same_handler_keeps_it_notified(tmp_path: Path) -> None:
    first = f"""    - copy: {{content: x, dest: {tmp_path}/x}}
      notify: restart
"""
    tasks = first + CHANGED_WHEN.format(command="echo the same")
    one = OneHost(
        tmp_path, play(tasks, RESTART.format(folder=tmp_path), f"changed when {tmp_path}")
    )
    assert one.apply().changed == 2
    assert (tmp_path / "restarts").read_text() == "ran\n"


def test_a_handler_owed_from_before_is_not_forgotten(tmp_path: Path) -> None:
    allowed = RESTART.format(folder=tmp_path).replace("echo ran", f"test -e {tmp_path}/ok && echo")
    text = CHANGED_WHEN.format(command=f"cat {tmp_path}/says")
    (tmp_path / "says").write_text("changed")
    one = OneHost(tmp_path, play(text, allowed, f"owed {tmp_path}"))
    assert one.apply().status == "failed"
    (tmp_path / "says").write_text("the same")
    (tmp_path / "ok").touch()
    one.again()
    assert one.apply().status == "changed"
    assert (tmp_path / "restarts").exists()


def test_changed_when_that_cannot_be_judged_is_a_failure(tmp_path: Path) -> None:
    tasks = "    - shell: echo\n      changed_when: nothing.rc == 0\n"
    result = OneHost(tmp_path, play(tasks)).apply()
    assert "changed_when cannot be judged" in result.reason


def test_changed_when_false_makes_no_command_run_in_a_plan(tmp_path: Path) -> None:
    tasks = f"    - shell: touch {tmp_path}/ran\n      changed_when: false\n"
    one = OneHost(tmp_path, play(tasks))
    plan = one.plan()
    assert statuses(plan) == ["change"]
    assert not (tmp_path / "ran").exists()
    assert one.apply(plan).status == "ok"
    assert (tmp_path / "ran").exists()


def test_a_look_that_says_changed_notifies(tmp_path: Path) -> None:
    tasks = """    - command: {cmd: 'true', read_only: true}
      changed_when: true
      notify: restart
"""
    one = OneHost(tmp_path, play(tasks, RESTART.format(folder=tmp_path)))
    assert statuses(one.plan()) == ["ok", "change"]
    assert one.apply().status == "changed"
