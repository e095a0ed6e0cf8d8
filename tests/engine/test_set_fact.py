"""`set_fact`, `hostvars`, and what lives on in later plays: never guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.engine import run as engine
from runner.engine.events import Event, Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.inventory.model import Host, Inventory
from runner.playbook.load import load_playbook
from tests.engine.plays import OneHost, statuses
from tests.engine.test_run import Connection


def test_a_value_is_set_for_tasks_handlers_and_verify(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: sets
  hosts: all
  vars: {{size: small, count: 1}}
  tasks:
    - set_fact: {{size: "{{{{ size }}}}er", count: "{{{{ count + 1 }}}}"}}
    - copy: {{content: "{{{{ size }}}} {{{{ count + 1 }}}}", dest: {tmp_path}/task}}
      notify: after
  handlers:
    - name: after
      shell: echo {{{{ size }}}} > {tmp_path}/handler
  verify:
    - assert: {{that: [size == "smaller", count == 2]}}
""",
    )
    result = one.apply()
    assert result.status == "changed", result
    assert (tmp_path / "task").read_text() == "smaller 3"
    assert (tmp_path / "handler").read_text() == "smaller\n"


def test_settings_of_the_command_line_win(tmp_path: Path) -> None:
    text = """
- name: sets
  hosts: all
  tasks:
    - set_fact: {size: other}
    - debug: "{{ size }}"
"""
    one = OneHost(tmp_path, text)
    one.subject = replace(one.subject, extra={"size": "given"})
    assert one.plan().steps[1].messages == ("given",)


def test_what_a_host_printed_stays_data_when_it_is_set(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        """
- name: hostile
  hosts: all
  tasks:
    - command: {argv: [echo, "{{ '{{' }} 6 * 7 {{ '}}' }}"], read_only: true}
      register: hostile
    - set_fact: {deep: {list: ["{{ hostile.stdout }}"]}, flat: "<{{ hostile.stdout }}>"}
    - set_fact: {again: "{{ deep.list[0] }} {{ flat }}"}
    - debug: "{{ again }}"
""",
    )
    assert one.plan().steps[3].messages == ("{{ 6 * 7 }} <{{ 6 * 7 }}>",)


def test_a_value_from_a_change_is_known_after_it(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: later
  hosts: all
  tasks:
    - shell: echo 42
      register: answer
    - set_fact: {{kept: "{{{{ answer.stdout }}}}"}}
    - name: defined
      debug: {{msg: yes}}
      when: kept is defined
    - name: compares
      debug: {{msg: no}}
      when: kept == "43"
    - copy: {{content: "{{{{ kept }}}}", dest: {tmp_path}/kept}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "deferred", "deferred", "deferred", "deferred"]
    assert [step.looks for step in plan.steps] == [False, True, True, True, False]
    assert one.apply(plan).status == "changed"
    assert (tmp_path / "kept").read_text() == "42"


def test_a_value_settled_before_a_change_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("shown")
    one = OneHost(
        tmp_path,
        f"""
- name: settled
  hosts: all
  tasks:
    - shell: {{cmd: cat {tmp_path}/source, read_only: true}}
      register: text
    - set_fact: {{before: "{{{{ text.stdout }}}}"}}
    - shell: echo other | tee {tmp_path}/source
      register: outcome
    - copy: {{content: "{{{{ outcome.stdout }}}}", dest: {tmp_path}/deferred}}
    - copy: {{content: "{{{{ before }}}}", dest: {tmp_path}/shown}}
""",
    )
    assert one.apply().status == "changed"
    assert (tmp_path / "shown").read_text() == "shown"


def test_a_skipped_task_sets_nothing_and_a_loop_adds_up(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        """
- name: loops
  hosts: all
  tasks:
    - set_fact: {never: 1}
      when: false
    - set_fact: {total: "{{ total | default(0) + item }}"}
      loop: [1, 2, 3]
    - debug: "{{ total }} {{ never is defined }}"
""",
    )
    assert one.plan().steps[-1].messages == ("6 False",)


# -- several hosts and plays -------------------------------------------------------------------

TWO_PLAYS = """
- name: first
  hosts: all
  tasks:
    - set_fact: {word: "of {{ inventory_hostname }}"}
    - command: {cmd: "echo seen", read_only: true}
      register: look
    - shell: echo made
      register: made
      when: acts | default(false)
- name: second
  hosts: all
  tasks:
    - debug: "{{ word }}, {{ look.stdout }}, {{ hostvars['a'].word }}, {{ hostvars['a'].folder }}"
    - debug: "{{ made.stdout }}"
      when: made is not skipped
    - debug: "{{ ansible_play_hosts | join(' ') }} {{ inventory_hostname_short }}"
"""


def run(
    folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, verb: str = "apply", **a: object
) -> list[HostState]:
    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(folder))
    (folder / "playbook.yaml").write_text(text)
    origin = Origin("hosts.yaml", 1, 1)
    hosts = [
        Host("a", "192.0.2.1", origin, variables={"folder": str(folder), **a}),
        Host("b.example", "192.0.2.2", origin, variables={}),
    ]
    happened: list[Event] = []
    made = Run(
        load_playbook(folder / "playbook.yaml"),
        Inventory(("x",), {h.name: h for h in hosts}, {"all": tuple(h.name for h in hosts)}),
        Settings(run="test"),
        Events([happened.append]),
        lambda states: True,
        Stop(),
    )
    states: list[HostState] = getattr(made, verb)()
    return states


def messages(state: HostState) -> list[str]:
    assert state.plan is not None
    return [text for step in state.plan.steps for text in step.messages]


def test_later_plays_know_what_was_set_and_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = run(tmp_path, TWO_PLAYS, monkeypatch, acts=True)
    of_second = {s.host.name: messages(s) for s in states if s.play.name == "second"}
    assert of_second["a"] == [
        f"of a, seen, of a, {tmp_path}",
        "made",
        "a b.example a",
    ]
    assert of_second["b.example"] == [
        f"of b.example, seen, of a, {tmp_path}",
        "a b.example b",
    ]


def test_a_plan_says_that_a_later_play_waits_for_what_an_earlier_one_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = run(tmp_path, TWO_PLAYS, monkeypatch, "plan", acts=True)
    (second,) = [s for s in states if s.play.name == "second" and s.host.name == "a"]
    assert second.plan is not None
    assert statuses(second.plan) == ["ok", "deferred", "ok"]


def test_facts_of_other_hosts_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "- hosts: b.example\n  tasks:\n    - debug: \"{{ hostvars['a'].facts.os }}\"\n"
    (state,) = run(tmp_path, text, monkeypatch)
    assert state.result is not None
    assert "facts of other hosts are not read" in state.result.reason


def test_templates_in_another_hosts_variables_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.playbook.document import TemplateText

    text = "- hosts: b.example\n  tasks:\n    - debug: \"{{ hostvars['a'].url }}\"\n"
    url = TemplateText("http://{{ inventory_hostname }}/", None)
    (state,) = run(tmp_path, text, monkeypatch, url=url)
    assert messages(state) == ["http://a/"]


def test_what_another_host_printed_is_never_a_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
- hosts: a
  tasks:
    - command: {argv: [echo, "{{ '{{' }} 6 * 7 }}"], read_only: true}
      register: look
    - set_fact: {word: "{{ look.stdout }}"}
- hosts: b.example
  tasks:
    - debug: "{{ hostvars['a'].word }}"
"""
    *_, state = run(tmp_path, text, monkeypatch)
    assert messages(state) == ["{{ 6 * 7 }}"]


def test_an_unknown_host_is_a_mistake(tmp_path: Path) -> None:
    one = OneHost(tmp_path, "- hosts: all\n  tasks:\n    - debug: \"{{ hostvars['z'].x }}\"\n")
    (step,) = one.plan().steps
    assert (step.status, "z" in step.reason) == ("failed", True)
