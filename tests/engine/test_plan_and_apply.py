"""Promises 1, 2, 3 and 7: the plan is the truth, no change no touch, done means seen, one exec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.engine.approved import check_within
from runner.engine.ending import Drifted
from runner.engine.maintenance import Maintenance
from runner.hosts.errors import LostError
from runner.hosts.script import Command
from tests.engine.plays import OneHost, statuses

TWO_FILES = """
- name: files
  hosts: all
  tasks:
    - name: first
      copy: {{content: "one\\n", dest: {folder}/first}}
    - name: second
      copy: {{content: "two\\n", dest: {folder}/second}}
"""


@pytest.fixture
def two(tmp_path: Path) -> OneHost:
    return OneHost(tmp_path, TWO_FILES.format(folder=tmp_path))


def test_a_plan_changes_nothing(two: OneHost, tmp_path: Path) -> None:
    plan = two.plan()
    assert statuses(plan) == ["change", "change"]
    assert not (tmp_path / "first").exists()
    assert two.local.changes == []


def test_one_exec_to_look_and_one_to_change(two: OneHost, tmp_path: Path) -> None:
    result = two.apply()
    assert (result.status, result.changed) == ("changed", 2)
    assert (tmp_path / "second").read_text() == "two\n"
    assert len(two.local.looks) == 1
    assert len(two.local.changes) == 1


def test_a_second_apply_has_nothing_to_do(two: OneHost) -> None:
    two.apply()
    two.local.changes.clear()
    assert statuses(two.again()) == ["ok", "ok"]
    assert two.apply().status == "ok"
    assert two.local.changes == []


def test_a_host_that_changed_since_the_plan_is_left_alone(two: OneHost, tmp_path: Path) -> None:
    plan = two.plan()
    (tmp_path / "first").write_text("somebody was here\n")
    result = two.apply(plan)
    assert result.status == "drifted"
    assert (tmp_path / "first").read_text() == "somebody was here\n"
    assert not (tmp_path / "second").exists()


def test_a_command_that_succeeds_without_effect_is_a_failure(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: lies
  hosts: all
  tasks:
    - name: first
      copy: {{content: "one\\n", dest: {tmp_path}/first}}
""",
    )
    plan = one.plan()
    (change,) = plan.steps[0].changes
    idle = replace(change, do=(Command("idle", "true"),))
    lying = replace(plan, steps=(replace(plan.steps[0], changes=(idle,)),))
    result = one.apply(lying)
    assert result.status == "failed"
    assert "the commands succeeded, but still to do" in result.reason


def test_a_refused_precondition_stops_the_host_before_any_task(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: refused
  hosts: all
  vars: {{ready: false}}
  preconditions:
    - name: ready
      assert: {{that: ready, msg: this host is not ready}}
  tasks:
    - name: first
      copy: {{content: x, dest: {tmp_path}/first}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["refused"]
    assert plan.problem is not None
    assert "this host is not ready" in plan.problem.reason
    assert "ready" in plan.problem.reason


def test_what_depends_on_an_unpredictable_command_is_known_after_it(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: later
  hosts: all
  tasks:
    - name: ask
      shell: echo 42
      register: answer
    - name: keep
      copy: {{content: "{{{{ answer.stdout }}}}", dest: {tmp_path}/answer}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "deferred"]
    assert not plan.steps[0].changes[0].predictable
    assert "known after" in plan.steps[1].reason
    result = one.apply(plan)
    assert result.status == "changed", result
    assert (tmp_path / "answer").read_text() == "42"


def test_a_handler_runs_once_after_the_tasks_and_only_when_notified(tmp_path: Path) -> None:
    text = f"""
- name: handlers
  hosts: all
  tasks:
    - name: first
      copy: {{content: x, dest: {tmp_path}/first}}
      notify: count
    - name: second
      copy: {{content: y, dest: {tmp_path}/second}}
      notify: count
  handlers:
    - name: count
      shell: echo ran >> {tmp_path}/count
"""
    one = OneHost(tmp_path, text)
    assert statuses(one.plan()) == ["change", "change", "change"]
    one.apply()
    assert (tmp_path / "count").read_text() == "ran\n"
    assert statuses(one.again()) == ["ok", "ok"]


def test_a_handler_that_an_interrupted_run_owes_is_run_by_the_next_one(tmp_path: Path) -> None:
    text = f"""
- name: owed {tmp_path}
  hosts: all
  tasks:
    - name: first
      shell: {{cmd: touch {tmp_path}/first, creates: {tmp_path}/first}}
      notify: restart
  handlers:
    - name: restart
      shell: test -e {tmp_path}/allowed && echo ran >> {tmp_path}/count
"""
    one = OneHost(tmp_path, text)
    assert one.apply().status == "failed"
    (tmp_path / "allowed").touch()
    assert statuses(one.again()) == ["ok", "change"]
    assert one.apply().status == "changed"
    assert (tmp_path / "count").read_text() == "ran\n"
    assert statuses(one.again()) == ["ok"]


def test_read_only_commands_run_while_looking_even_in_a_plan(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        """
- name: look
  hosts: all
  tasks:
    - name: answer
      command: {cmd: echo 42, read_only: true}
      register: answer
    - name: say
      debug: "the answer is {{ answer.stdout }}"
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["ok", "ok"]
    assert plan.steps[1].messages == ("the answer is 42",)


def test_host_output_is_never_a_template(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        """
- name: hostile
  hosts: all
  tasks:
    - name: hostile
      command: {argv: [echo, "{{ '{{' }} 6 * 7 {{ '}}' }}"], read_only: true}
      register: hostile
    - name: say
      debug: "{{ hostile.stdout }}"
""",
    )
    assert one.plan().steps[1].messages == ("{{ 6 * 7 }}",)


def test_loops_plan_one_step_per_item(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: loop
  hosts: all
  tasks:
    - name: file
      copy: {{content: "{{{{ item }}}}", dest: "{tmp_path}/{{{{ item }}}}"}}
      loop: [a, b]
      register: files
    - name: say
      debug: "{{{{ files.changed }}}}"
""",
    )
    plan = one.plan()
    assert [step.label for step in plan.steps] == ["file (a)", "file (b)", "say"]
    assert one.apply(plan).changed == 2


def test_an_interrupted_host_that_was_not_touched_is_given_back(two: OneHost) -> None:
    left: list[str] = []

    class Node(Maintenance):
        def leave(self) -> str:
            left.append("left")
            return ""

    two.stop.set()
    result = two.apply(node=Node())
    assert (result.status, left) == ("skipped", ["left"])
    assert two.local.changes == []


def test_a_touched_host_that_broke_stays_out_of_service_and_says_so(two: OneHost) -> None:
    class Node(Maintenance):
        def left(self) -> str:
            return "node gpu-1 stays cordoned"

    plan = two.plan()
    two.local.breaks_at_change = True
    result = two.apply(plan, Node())
    assert result.status == "unreachable"
    assert result.left == "node gpu-1 stays cordoned"


def test_a_lost_connection_names_the_task_and_what_was_done_before(
    two: OneHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = two.plan()
    first, second = [step.label for step in plan.steps]
    running = f"{plan.steps[1].key}#0/guard"

    def change(blocks: Any) -> Any:
        raise LostError("lost", "look again", {}, running, "no answer for 15 s")

    monkeypatch.setattr(two.local, "change", change)
    reason = two.apply(plan).reason
    assert f"the connection was lost during '{second}' (no answer for 15 s)" in reason
    assert f"finished before: {first}" in reason and "look again" in reason
    assert "#0" not in reason


def test_verify_failing_is_a_failure_of_the_host(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: verified
  hosts: all
  tasks:
    - name: first
      copy: {{content: x, dest: {tmp_path}/first}}
  verify:
    - name: proof
      assert: {{that: false, msg: it does not work}}
""",
    )
    result = one.apply()
    assert result.status == "failed"
    assert "verify: proof" in result.reason and "it does not work" in result.reason


def test_ignored_errors_are_registered_and_the_rest_goes_on(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: ignored
  hosts: all
  tasks:
    - name: fails
      shell: exit 3
      register: outcome
      ignore_errors: true
    - name: goes on
      copy: {{content: "rc {{{{ outcome.rc }}}}", dest: {tmp_path}/rc}}
""",
    )
    assert one.apply().status == "changed"
    assert (tmp_path / "rc").read_text() == "rc 3"


def test_failed_when_judges_an_executed_command(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: judged
  hosts: all
  tasks:
    - name: says error
      shell: echo error
      register: outcome
      failed_when: "'error' in outcome.stdout"
    - name: never
      copy: {{content: x, dest: {tmp_path}/never}}
""",
    )
    result = one.apply()
    assert result.status == "failed"
    assert "failed_when" in result.reason
    assert not (tmp_path / "never").exists()


def test_failed_when_knows_the_item_and_what_was_registered_before(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: judged
  hosts: all
  vars: {{bad: y}}
  tasks:
    - name: before
      shell: echo one
      register: earlier
    - name: each
      shell: echo {{{{ item }}}} >> {tmp_path}/ran
      loop: [x, y, z]
      failed_when: item == bad and "one" in earlier.stdout
""",
    )
    result = one.apply()
    assert (result.status, "failed_when: item == bad" in result.reason) == ("failed", True)
    assert (tmp_path / "ran").read_text() == "x\ny\n"


def test_failed_when_that_cannot_be_judged_is_a_failure(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        """
- name: judged
  hosts: all
  tasks:
    - name: says
      shell: echo one
      failed_when: nothing.stdout == "two"
""",
    )
    result = one.apply()
    assert result.status == "failed"
    assert "failed_when cannot be judged" in result.reason


def test_a_stop_after_the_change_still_runs_the_handlers(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: stopped
  hosts: all
  tasks:
    - name: change and be stopped
      copy: {{content: x, dest: {tmp_path}/first}}
      notify: restart
    - name: more
      shell: echo more > {tmp_path}/more
      ignore_errors: true
  handlers:
    - name: restart
      shell: echo ran > {tmp_path}/restarted
""",
    )
    plan = one.plan()
    stop_after_first = one.local.change

    def change(blocks):  # type: ignore[no-untyped-def]
        one.stop.set()
        return stop_after_first(blocks)

    one.local.change = change  # type: ignore[method-assign]
    assert one.apply(plan).status == "changed"
    assert (tmp_path / "restarted").exists()


def test_a_file_that_an_earlier_task_makes_counts_as_there(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: creates
  hosts: all
  tasks:
    - name: make it
      copy: {{content: x, dest: {tmp_path}/made}}
    - name: not needed any more
      command: {{cmd: "false", creates: {tmp_path}/made}}
""",
    )
    assert statuses(one.plan()) == ["change", "ok"]


def test_what_was_looked_at_before_a_change_stays_as_it_was_then(tmp_path: Path) -> None:
    """The replanning of what was deferred must not slip in other changes of what was shown."""
    (tmp_path / "source").write_text("shown")
    one = OneHost(
        tmp_path,
        f"""
- name: changes what a later task was planned with
  hosts: all
  preconditions:
    - name: as expected
      shell: {{cmd: grep -q shown {tmp_path}/source, read_only: true}}
  tasks:
    - name: reads
      shell: {{cmd: cat {tmp_path}/source, read_only: true}}
      register: text
    - name: alters
      shell: echo other | tee {tmp_path}/source
      register: outcome
    - name: deferred
      copy: {{content: "{{{{ outcome.stdout }}}}", dest: {tmp_path}/deferred}}
    - name: shown
      copy: {{content: "{{{{ text.stdout }}}}", dest: {tmp_path}/shown}}
""",
    )
    result = one.apply()
    assert result.status == "changed", result
    assert (tmp_path / "deferred").read_text() == "other"
    assert (tmp_path / "shown").read_text() == "shown"


def test_a_file_is_never_given_another_content_than_the_plan_showed(tmp_path: Path) -> None:
    one = OneHost(tmp_path, TWO_FILES.format(folder=tmp_path))
    approved = one.plan()
    (change,) = approved.steps[0].changes
    assert change.diff is not None
    other = replace(change, diff=replace(change.diff, after="other"))
    plan = replace(approved, steps=(replace(approved.steps[0], changes=(other,)),))
    check_within(approved, approved)
    with pytest.raises(Drifted, match=r"another content for its file\n.*gpurun resume"):
        check_within(approved, plan)


def test_registered_results_are_known_in_verify_and_failed_when(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: registered
  hosts: all
  tasks:
    - name: look
      command: {{cmd: echo seen, read_only: true}}
      register: looked
    - name: act
      shell: echo acted > {tmp_path}/acted; echo acted
      register: acted
      failed_when: looked.stdout != "seen"
    - name: each
      shell: echo {{{{ item }}}}
      loop: [a, b]
      register: all
  verify:
    - name: proof
      assert:
        that:
          - looked.stdout == "seen"
          - acted.stdout == "acted"
          - all.results[1].stdout == "b"
""",
    )
    result = one.apply()
    assert result.status == "changed", result


def test_a_look_after_a_change_sees_the_change_in_the_same_apply(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("1")
    one = OneHost(
        tmp_path,
        f"""
- name: looks
  hosts: all
  tasks:
    - name: change
      copy: {{content: "2", dest: {tmp_path}/version}}
    - name: look
      command: {{cmd: cat {tmp_path}/version, read_only: true}}
      register: version
    - name: judge
      assert: {{that: version.stdout == "2"}}
    - name: use
      copy: {{content: "{{{{ version.stdout }}}}", dest: {tmp_path}/copy}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "deferred", "deferred", "deferred"]
    assert [step.looks for step in plan.steps] == [False, True, True, False]
    assert one.apply(plan).status == "changed"
    assert (tmp_path / "copy").read_text() == "2"
    assert statuses(one.again()) == ["ok"] * 4


def test_a_missing_file_that_an_earlier_task_makes_may_be_looked_at(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: looks
  hosts: all
  tasks:
    - name: make
      copy: {{content: "x", dest: {tmp_path}/made}}
    - name: look
      command: {{cmd: cat {tmp_path}/made, read_only: true}}
""",
    )
    result = one.apply()
    assert result.status == "changed", result
