"""`until`, `retries`, `delay`: waiting is done by apply, a plan says so and never hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.plays import OneHost, statuses
from tests.engine.test_set_fact import messages, run

COUNTS = "echo x >> {folder}/tries; wc -l < {folder}/tries"


def looks(
    folder: Path, keys: str, section: str = "tasks", more: str = "", delay: float = 0
) -> OneHost:
    return OneHost(
        folder,
        f"""
- name: waits
  hosts: all
  {section}:
    - name: counts
      shell: {{cmd: "{COUNTS.format(folder=folder)}", read_only: true}}
      register: seen
      delay: {delay}
      {keys}
{more}
""",
    )


def count(folder: Path) -> int:
    return len((folder / "tries").read_text().splitlines())


def test_a_plan_looks_once_and_says_what_apply_waits_for(tmp_path: Path) -> None:
    one = looks(
        tmp_path,
        "until: seen.stdout == '3'",
        more='    - debug: "seen {{ seen.stdout }} in {{ seen.attempts }}"\n',
    )
    plan = one.plan()
    assert statuses(plan) == ["deferred", "deferred"]
    assert [step.looks for step in plan.steps] == [True, True]
    assert plan.steps[0].reason == ("waits until seen.stdout == '3', at most 4 tries, 0 s apart")
    assert count(tmp_path) == 1
    assert plan.disruption == 0


def test_apply_looks_until_it_holds(tmp_path: Path) -> None:
    one = looks(
        tmp_path,
        "until: seen.stdout | int >= 4",
        more=f'    - copy: {{content: "{{{{ seen.stdout }}}}", dest: {tmp_path}/kept}}\n',
    )
    result = one.apply()
    assert result.status == "changed", result
    assert (tmp_path / "kept").read_text() == "4"
    said = [e.text for e in one.happened if e.kind == "progress"]
    assert said and "counts: try 1 of 4: waits until" in said[0]


def test_what_holds_at_once_is_not_waited_for(tmp_path: Path) -> None:
    one = looks(tmp_path, "until: seen.rc == 0", more='    - debug: "{{ seen.attempts }}"\n')
    plan = one.plan()
    assert statuses(plan) == ["ok", "ok"]
    assert plan.steps[1].messages == ("1",)


def test_it_gives_up_after_the_tries_it_was_given(tmp_path: Path) -> None:
    one = looks(tmp_path, "until: false\n      retries: 2")
    plan = one.plan()
    result = one.apply(plan)
    assert result.status == "failed"
    assert "gave up until false, at most 3 tries" in result.reason


def test_giving_up_can_be_ignored(tmp_path: Path) -> None:
    keys = "until: false\n      retries: 1\n      ignore_errors: true"
    more = f"""
    - copy: {{content: "{{{{ seen.failed }}}} {{{{ seen.attempts }}}}", dest: {tmp_path}/kept}}
"""
    one = looks(tmp_path, keys, more=more)
    assert one.apply().status == "changed"
    assert (tmp_path / "kept").read_text() == "True 2"


def test_a_look_that_fails_is_tried_again_until_it_succeeds(tmp_path: Path) -> None:
    shell = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -gt 2"
    one = OneHost(
        tmp_path,
        f"""
- name: waits
  hosts: all
  tasks:
    - name: fails at first
      shell: {{cmd: "{shell}", read_only: true}}
      retries: 5
      delay: 0
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["deferred"]
    assert "until it succeeds, at most 6 tries" in plan.steps[0].reason
    assert one.apply(plan).status == "ok"
    assert count(tmp_path) == 3


@pytest.mark.parametrize(("most", "ends"), [(5, "ok"), (1, "denied")])
def test_preconditions_are_waited_for_before_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, ends: str
) -> None:
    text = f"""
- name: waits
  hosts: a
  preconditions:
    - name: counts
      shell: {{cmd: "{COUNTS.format(folder=tmp_path)}", read_only: true}}
      register: seen
      until: seen.stdout == "3"
      retries: {most}
      delay: 0
  tasks:
    - debug: "{{{{ seen.attempts }}}}"
"""
    (state,) = run(tmp_path, text, monkeypatch)
    assert state.result is not None
    assert state.result.status == ends
    assert messages(state) == (["3"] if ends == "ok" else [])


def test_a_command_is_done_again_until_it_succeeds(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: again
  hosts: all
  tasks:
    - name: fails twice
      shell: echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -gt 2
      register: outcome
      retries: 4
      delay: 0
    - copy:
        content: "{{{{ outcome.attempts }}}} {{{{ outcome.rc }}}}"
        dest: {tmp_path}/kept
""",
    )
    plan = one.plan()
    assert plan.steps[0].messages == ("tried until it succeeds, at most 5 tries, 0 s apart",)
    result = one.apply(plan)
    assert result.status == "changed", result
    assert (tmp_path / "kept").read_text() == "3 0"


def test_a_command_is_done_again_until_its_result_is_as_wanted(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: again
  hosts: all
  tasks:
    - name: counts
      shell: {COUNTS.format(folder=tmp_path)}
      register: outcome
      until: outcome.stdout == wanted
      vars: {{wanted: "3"}}
      delay: 0
""",
    )
    assert one.apply().status == "changed"
    assert count(tmp_path) == 3


def test_a_command_that_never_gets_there_fails_with_its_last_result(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: again
  hosts: all
  tasks:
    - name: counts
      shell: {COUNTS.format(folder=tmp_path)}
      register: outcome
      until: outcome.stdout == "no"
      retries: 1
      delay: 0
""",
    )
    result = one.apply()
    assert result.status == "failed"
    assert "until does not hold: outcome.stdout" in result.reason
    assert count(tmp_path) == 2


def test_each_wait_grows_by_the_backoff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = looks(tmp_path, "until: false\n      backoff: 2", delay=1.5)
    plan = one.plan()
    assert "1.5 s apart, each wait 2 times the one before" in plan.steps[0].reason
    waits: list[float] = []
    monkeypatch.setattr(one.stop, "wait", lambda seconds: waits.append(seconds))
    assert one.apply(plan).status == "failed"
    assert waits == [1.5, 3.0, 6.0]


def test_a_stop_ends_the_waiting_and_gives_an_untouched_node_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = looks(tmp_path, "until: false")
    plan = one.plan()
    monkeypatch.setattr(one.stop, "wait", lambda seconds: True)
    result = one.apply(plan)
    assert (result.status, result.left) == ("skipped", "")
    assert "waiting for its next try" in result.reason


def test_verify_waits_too(tmp_path: Path) -> None:
    one = looks(tmp_path, "until: seen.stdout == '3'", section="verify")
    assert one.apply().status == "ok"
    assert count(tmp_path) == 3


def test_items_of_a_loop_wait_each_for_themselves(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: waits
  hosts: all
  tasks:
    - name: counts
      shell:
        cmd: echo x >> {tmp_path}/{{{{ item }}}}; wc -l < {tmp_path}/{{{{ item }}}}
        read_only: true
      loop: [one, two]
      register: seen
      until: seen.stdout | int >= 3
      delay: 0
    - debug: "{{{{ seen.results | map(attribute='item') | list }}}}"
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["deferred", "deferred", "ok"]
    assert one.apply(plan).status == "ok"
    assert len((tmp_path / "two").read_text().splitlines()) >= 3
