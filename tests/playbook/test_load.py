"""What a playbook says, as the engine gets it."""

from pathlib import Path
from typing import Any

import pytest

from runner.kube.state import DrainOptions, JobWait
from runner.modules.base import Disruption, Risk
from runner.playbook.document import Play, TemplateText
from runner.playbook.load import load_playbook, load_playbook_text

SHIPPED = sorted((Path(__file__).parents[2] / "playbooks").glob("*.yaml"))


def play(text: str) -> Play:
    return load_playbook_text(text, Path("p.yaml")).plays[0]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_playbooks_load(path: Path) -> None:
    assert load_playbook(path).plays


def test_every_key_of_a_play() -> None:
    got = play(
        """
- name: Everything
  hosts: [gpu, "!t4"]
  become: yes
  become_user: root
  gather_facts: no
  vars: {size: 3, on_call: yes}
  environment: {LANG: C}
  risk: medium
  serial: [1, "25%"]
  rollout: {max_failed: 2}
  drain: {mode: gpu, timeout: 10m, force: true, namespace_exclude: [a, b], grace_period: 0}
"""
    )
    assert (got.name, got.hosts, got.become) == ("Everything", "gpu,!t4", True)
    assert got.variables == {"size": 3, "on_call": True}
    assert got.environment == {"LANG": "C"}
    assert got.risk is Risk.MEDIUM
    assert (got.waves, got.max_failed) == (("1", "25%"), 2)
    assert got.drain == DrainOptions(
        mode="gpu", timeout=600.0, force=True, namespace_exclude=("a", "b"), grace_period=0
    )


def test_a_drain_that_waits_for_jobs() -> None:
    got = play(
        """
- hosts: gpu
  drain:
    wait_for_jobs: {selector: app=training, timeout: 2h}
    disable_eviction: true
    skip_wait_for_delete_timeout: 60
    taint: example.com/repair:PreferNoSchedule
"""
    )
    assert got.drain == DrainOptions(
        wait_for_jobs=JobWait("app=training", 7200.0),
        disable_eviction=True,
        skip_wait_for_delete_timeout=60,
        taint="example.com/repair:PreferNoSchedule",
    )


def test_every_key_of_a_task() -> None:
    task = play(
        """
- hosts: gpu
  tasks:
    - name: One
      ansible.builtin.shell: "echo {{ item }}"
      args: {creates: /tmp/x}
      when: [size == 3, true]
      notify: restart
      register: result
      loop: "{{ sizes }}"
      vars: {size: 3}
      become: false
      timeout: 90s
      environment: {LANG: C}
      risk: low
      disruption: none
      because: it only writes a file
      failed_when: result.rc > 1
      ignore_errors: no
      changed_when: false
      tags: a, b
  handlers:
    - name: restart
      service: {name: containerd, state: restarted}
"""
    ).tasks[0]
    assert (task.name, task.module) == ("One", "shell")
    assert task.arguments == {"cmd": "echo {{ item }}", "creates": "/tmp/x"}
    assert task.when == ("size == 3", "true")
    assert (task.notify, task.register, task.loop) == (("restart",), "result", "{{ sizes }}")
    assert (task.become, task.timeout) == (False, 90.0)
    assert (task.risk, task.disruption) == (Risk.LOW, Disruption.NONE)
    assert task.because == "it only writes a file"
    assert task.failed_when == ("result.rc > 1",)
    assert task.ignore_errors is False
    assert task.tags == ("a", "b")


def test_defaults() -> None:
    got = play("- hosts: gpu\n  tasks:\n    - debug: {msg: x}\n")
    assert (got.name, got.become, got.waves, got.max_failed) == ("gpu", False, ("1", "100%"), 0)
    task = got.tasks[0]
    assert (task.name, task.when, task.become, task.timeout) == ("debug", (), None, None)


def test_every_value_knows_its_place() -> None:
    got = play(
        "- hosts: gpu\n  vars:\n    a: {b: [1, 2]}\n  tasks:\n    - debug:\n        msg: x\n"
    )
    values: Any = got.variables
    assert str(values.where("a")) == "p.yaml:3:8"
    assert str(values["a"].where("b")) == "p.yaml:3:12"
    assert [str(origin) for origin in values["a"]["b"].origins] == ["p.yaml:3:13", "p.yaml:3:16"]
    assert str(got.tasks[0].origin) == "p.yaml:5:7"
    assert str(got.tasks[0].arguments.where("msg")) == "p.yaml:6:14"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0644", "0644"),
        ("12:30:45", "12:30:45"),
        ("2026-01-02", "2026-01-02"),
        ("1_000", 1000),
        ("0x10", 16),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        ("yes", True),
        ("Off", False),
        ("true", True),
        ("~", None),
        ('"no"', "no"),
        ("!unsafe '{{ x }}'", "{{ x }}"),
    ],
)
def test_scalars_without_surprises(written: str, value: Any) -> None:
    got = play(f"- hosts: gpu\n  vars: {{a: {written}}}\n").variables["a"]
    assert got == value
    assert type(got) is type(value)


def test_text_with_template_marks_is_marked() -> None:
    got = play('- hosts: gpu\n  vars: {a: "{{ b }}", c: plain}\n').variables
    assert isinstance(got["a"], TemplateText)
    assert str(got["a"].origin) == "p.yaml:2:13"
    assert not isinstance(got["c"], TemplateText)


def test_anchors_and_merge_keys() -> None:
    got = play(
        """
- hosts: gpu
  vars:
    base: &base {a: 1, b: 2}
    more: {<<: *base, b: 3}
    same: *base
"""
    ).variables
    assert got["more"] == {"a": 1, "b": 3}
    assert got["same"] == {"a": 1, "b": 2}


def test_variable_files_are_read_in_order_and_win_over_vars(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("a: 1\nb: 1\nc: 1\n")
    (tmp_path / "two.yaml").write_text("b: 2\nc: 2\n")
    path = tmp_path / "p.yaml"
    path.write_text("- hosts: gpu\n  vars_files: [one.yaml, two.yaml]\n  vars: {c: 3, d: 3}\n")
    got = load_playbook(path).plays[0].variables
    assert got == {"a": 1, "b": 2, "c": 2, "d": 3}
    assert str(got.where("b")) == f"{tmp_path}/two.yaml:1:4"


def test_templates_leave_the_check_of_an_argument_to_the_engine() -> None:
    got = play(
        """
- hosts: gpu
  tasks:
    - file: {path: "/etc/{{ name }}", state: "{{ wanted }}"}
    - copy: {dest: "{{ d }}", content: x}
"""
    )
    assert [task.module for task in got.tasks] == ["file", "copy"]


def test_read_only_commands_may_stand_in_preconditions() -> None:
    got = play("- hosts: gpu\n  preconditions:\n    - command: {cmd: uptime, read_only: true}\n")
    assert got.preconditions[0].arguments["read_only"] is True


def test_what_a_play_hands_to_all_its_tasks() -> None:
    got = play(
        """
- hosts: gpu
  tags: [a]
  no_log: true
  timeout: 5m
  ignore_errors: true
  module_defaults: {ansible.builtin.command: {chdir: /srv}}
  tasks:
    - command: x
    - {command: y, args: {chdir: /opt}, timeout: 1, ignore_errors: false, tags: b}
"""
    )
    one, two = got.tasks
    assert (one.tags, one.no_log, one.timeout, one.ignore_errors) == (("a",), True, 300, True)
    assert (two.tags, two.timeout, two.ignore_errors) == (("a", "b"), 1, False)
    assert [task.arguments["chdir"] for task in got.tasks] == ["/srv", "/opt"]


def test_defaults_of_a_module_in_a_block_replace_those_of_the_play() -> None:
    got = play(
        """
- hosts: gpu
  module_defaults: {file: {mode: "0700", owner: root}}
  tasks:
    - module_defaults: {file: {mode: "0750"}}
      block: [{file: {path: /a, state: directory}}]
    - file: {path: /b, state: directory}
"""
    )
    inside, outside = (task.arguments for task in got.tasks)
    assert ("owner" in inside, inside["mode"]) == (False, "0750")
    assert (outside["owner"], outside["mode"]) == ("root", "0700")


@pytest.mark.parametrize(
    ("text", "number", "percent"),
    [
        ("rollout: {max_failed: 2}", 2, None),
        ("rollout: {max_failed: '20%'}", 0, 20.0),
        ("max_fail_percentage: 12.5", 0, 12.5),
        ("any_errors_fatal: true", 0, None),
    ],
)
def test_how_many_hosts_may_fail(text: str, number: int, percent: float | None) -> None:
    got = play(f"- hosts: gpu\n  {text}\n")
    assert (got.max_failed, got.max_failed_percent) == (number, percent)


def test_the_first_of_several_variable_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("x: b\n")
    (tmp_path / "c.yaml").write_text("x: c\n")
    path = tmp_path / "p.yaml"
    path.write_text("- hosts: gpu\n  vars_files: [['{{ name }}.yaml', c.yaml]]\n")
    assert load_playbook(path, {"name": "b"}).plays[0].variables == {"x": "b"}
    assert load_playbook(path, {"name": "a"}).plays[0].variables == {"x": "c"}
