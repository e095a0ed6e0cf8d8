"""What loading settles, seen through plan and apply on a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.engine.ending import HostResult
from runner.engine.gates import Gate
from runner.engine.states import HostState
from runner.engine.subject import Subject
from runner.inventory.model import Host
from runner.reports.data import host_plan
from tests.engine.plays import OneHost, statuses
from tests.playbook.files import write


def says(host: OneHost) -> list[str]:
    """The messages of its debug tasks."""
    return [text for step in host.plan().steps for text in step.messages]


ROLE = {
    "roles/app/defaults/main.yaml": "{a: default, b: default, c: default, d: default}\n",
    "roles/app/vars/main.yaml": "{d: role, e: role, f: role, g: role}\n",
    "roles/app/tasks/main.yaml": """
- debug: {msg: "{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ f }} {{ g }}"}
  vars: {f: task, g: task}
""",
}


def test_the_order_of_precedence(tmp_path: Path) -> None:
    """role defaults < inventory < play vars < vars_files < role vars < block < task < include."""
    write(tmp_path, {**ROLE, "file.yaml": "{c: file, d: file}\n"})
    text = """
- hosts: all
  vars: {b: play, c: play, d: play}
  vars_files: [file.yaml]
  tasks:
    - vars: {e: block, f: block}
      block:
        - include_role: {name: app}
          vars: {g: include}
"""
    host = OneHost(tmp_path, text, a="host", b="host", c="host", d="host")
    assert says(host) == ["host play file role block task include"]


def test_defaults_count_where_nothing_else_does(tmp_path: Path) -> None:
    write(tmp_path, ROLE)
    text = "- hosts: all\n  roles: [app]\n  tasks: [debug: {msg: '{{ a }} {{ d }}'}]\n"
    host = OneHost(tmp_path, text, b="host")
    assert says(host) == ["default host default role role task task", "default role"]


def test_include_vars_between_task_vars_and_registered_results(tmp_path: Path) -> None:
    write(tmp_path, {"v.yaml": "{t: included, r: included, lazy: '{{ t }}!'}\n"})
    text = """
- hosts: all
  tasks:
    - include_vars: v.yaml
      when: wanted
    - command: {cmd: echo x, read_only: true}
      register: r
    - debug: {msg: "{{ t }} {{ r.stdout }} {{ lazy }}"}
      vars: {t: task}
"""
    assert says(OneHost(tmp_path, text, wanted=True)) == ["included x included!"]
    told = OneHost(tmp_path, text, wanted=False, lazy="none").plan()
    assert told.steps[-1].messages == ("task x none",)


def test_include_vars_of_which_it_is_not_known_whether_they_count(tmp_path: Path) -> None:
    write(tmp_path, {"v.yaml": "{x: included}\n"})
    text = f"""
- hosts: all
  tasks:
    - command: touch {tmp_path}/done
      register: made
    - include_vars: v.yaml
      when: made.stdout == ""
    - debug: {{msg: "{{{{ x }}}}"}}
    - debug: {{msg: plain}}
"""
    plan = OneHost(tmp_path, text, x="host").plan()
    assert statuses(plan) == ["change", "deferred", "ok"]
    assert "known after the change" in plan.steps[1].reason


def test_a_file_that_the_host_decides(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path, {f"tasks/{name}.yaml": f"- debug: {{msg: from {name}}}\n"})
    text = "- hosts: all\n  tasks: [include_tasks: 'tasks/{{ which }}.yaml']\n"
    assert says(OneHost(tmp_path, text, which="two")) == ["from two"]
    refused = OneHost(tmp_path, text, which="three").plan().problem
    assert refused is not None
    assert refused.reason == (
        "include_tasks: there is no file tasks/three.yaml; there is tasks/one.yaml, tasks/two.yaml"
    )


def test_a_role_has_its_own_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "roles/app/tasks/main.yaml": f"""
- template: {{src: a, dest: {tmp_path}/rendered}}
- copy: {{src: a, dest: {tmp_path}/copied}}
- copy: {{src: b, dest: {tmp_path}/of_playbook}}
""",
            "roles/app/templates/a": "{{ role_name }}\n",
            "roles/app/files/a": "{{ as it is }}\n",
            "files/a": "wrong\n",
            "files/b": "of the playbook\n",
        },
    )
    plan = OneHost(tmp_path, "- hosts: all\n  roles: [app]\n").plan()
    after = [change.diff.after for step in plan.steps for change in step.changes if change.diff]
    assert after == ["app\n", "{{ as it is }}\n", "of the playbook\n"]


@pytest.mark.parametrize(
    ("loop", "labels"),
    [
        ("loop: [a, b]", ["x (a)", "x (b)"]),
        ("with_items: [[a, b], c]", ["x (a)", "x (b)", "x (c)"]),
        ("with_dict: {k: v}", ["x ({'key': 'k', 'value': 'v'})"]),
        ("loop: [{n: 1}], loop_control: {label: '{{ item.n }}'}", ["x (1)"]),
        ("loop: [a], loop_control: {label: '{{ gone }}'}", ["x (a)"]),
        ("loop: [{n: 1}], loop_control: {loop_var: o, label: '{{ o.n }}'}", ["x (1)"]),
    ],
)
def test_what_a_plan_shows_of_items(tmp_path: Path, loop: str, labels: list[str]) -> None:
    text = f"- hosts: all\n  tasks: [{{name: x, debug: {{msg: y}}, {loop}}}]\n"
    assert [step.label for step in OneHost(tmp_path, text).plan().steps] == labels


def test_results_of_a_loop_name_the_item_as_the_loop_does(tmp_path: Path) -> None:
    text = """
- hosts: all
  tasks:
    - command: {cmd: "echo {{ one }}", read_only: true}
      with_items: [[a], b]
      loop_control: {loop_var: one}
      register: r
    - debug: {msg: "{{ r.results | map(attribute='one') | join }} {{ r.results[1].stdout }}"}
"""
    assert says(OneHost(tmp_path, text)) == ["ab b"]


# -- names of tasks ---


def test_templates_in_a_name_are_filled_in_where_they_can_be(tmp_path: Path) -> None:
    text = f"""
- hosts: all
  tasks:
    - name: the file of {{{{ site }}}}
      copy: {{dest: {tmp_path}/f, content: x}}
      register: made
    - name: round {{{{ item }}}} at {{{{ site }}}}
      debug: {{msg: x}}
      loop: [1]
    - {{name: "{{{{ nobody }}}}", debug: {{msg: x}}}}
    - {{name: "{{{{ made.size }}}}", debug: {{msg: x}}}}
    - {{name: "hides {{{{ site }}}}", debug: {{msg: x}}, no_log: true}}
    - block: [{{name: "tries {{{{ site }}}}", command: "false"}}]
      rescue: [{{name: "mends {{{{ site }}}}", debug: {{msg: x}}}}]
"""
    one = OneHost(tmp_path, text, site="berlin")
    assert [step.label for step in one.plan().steps] == [
        "the file of berlin",
        "round 1 at berlin (1)",
        "{{ nobody }}",
        "{{ made.size }}",
        "hides {{ site }}",
        "tries berlin",
        "mends berlin",
    ]


def test_what_a_host_printed_is_data_in_a_name_too(tmp_path: Path) -> None:
    text = """
- hosts: all
  tasks:
    - command: {cmd: "printf '{{ '{{' }} site }}\\n\\nx'", read_only: true}
      register: said
    - {name: "said {{ said.stdout }}", debug: {msg: x}}
"""
    one = OneHost(tmp_path, text, site="berlin")
    assert one.plan().steps[1].label == "said {{ site }} x"


# -- no_log ---------------------------------------------------------------------------------------

SECRET = "hunter2"


def everything(host: OneHost, result: HostResult | None = None) -> str:
    """All that a person, a program or the journal gets to see of a host."""
    plan = host.plan()
    state = HostState(host.subject.host, host.subject.play, host.subject, plan=plan)
    state.gate = Gate("allow", tuple(step.reason for step in plan.steps))
    events = [(event.kind, event.text, event.data) for event in host.happened]
    return json.dumps([host_plan(state), events, result and result.reason], default=str)


def hidden(folder: Path, task: str, **variables: Any) -> OneHost:
    text = f"- hosts: all\n  become: false\n  tasks:\n    - {{name: x, {task}}}\n"
    return OneHost(folder, text, secret=SECRET, **variables)


@pytest.mark.parametrize(
    "task",
    [
        "copy: {dest: DIR/f, content: '{{ secret }}', mode: '0644'}",
        "command: 'echo {{ secret }}'",
        "debug: {msg: '{{ secret }}'}",
        "assert: {that: 'false', msg: '{{ secret }}'}",
        "command: 'echo x', loop: ['{{ secret }}']",
        "command: 'echo x', loop: [{a: '{{ secret }}'}], loop_control: {label: '{{ item.a }}'}",
        "template: {src: '{{ secret }}', dest: DIR/f}",
    ],
)
@pytest.mark.parametrize("no_log", ["true", "'{{ hide }}'", "'{{ gone }}'"])
def test_no_log_hides_it_from_every_sink(tmp_path: Path, task: str, no_log: str) -> None:
    task = task.replace("DIR", str(tmp_path))
    shown = everything(hidden(tmp_path, task, hide=True))
    assert SECRET in shown
    assert SECRET not in everything(hidden(tmp_path, f"{task}, no_log: {no_log}", hide=True))


@pytest.mark.parametrize(
    "task",
    [
        "copy: {dest: DIR/f, content: '{{ secret }}', mode: '0644'}",
        "shell: 'echo {{ secret }} >&2; exit 3'",
        "command: 'echo x', loop: [{a: '{{ secret }}'}]",
    ],
)
def test_a_no_log_that_is_false_hides_nothing(tmp_path: Path, task: str) -> None:
    shown = []
    for more in ("", ", no_log: '{{ hide }}'"):
        task = task.replace("DIR", str(tmp_path))
        host = hidden(tmp_path, f"{task}{more}", hide=False)
        planned = everything(host)
        shown.append([planned, everything(host, host.apply())])
        (tmp_path / "f").unlink(missing_ok=True)
    assert shown[0] == shown[1] and SECRET in shown[0][0]


def test_that_it_changes_and_its_risk_are_still_seen(tmp_path: Path) -> None:
    task = f"copy: {{dest: {tmp_path}/f, content: x}}, risk: high, no_log: true"
    host = hidden(tmp_path, task)
    state = HostState(host.subject.host, host.subject.play, host.subject, plan=host.plan())
    (change,) = host_plan(state)["changes"]
    assert (change["task"], change["risk"], change["predictable"]) == ("x", "high", True)
    assert change["summary"] == "a change (not shown: no_log)"
    assert change["diff"] == "not shown: no_log"
    result = host.apply()
    assert result.status == "changed" and (tmp_path / "f").read_text() == "x"


def test_a_failure_does_not_show_what_was_printed(tmp_path: Path) -> None:
    task = "shell: 'echo {{ secret }} >&2; exit 3'"
    for no_log, seen in (("false", True), ("true", False)):
        host = hidden(tmp_path, f"{task}, no_log: {no_log}")
        result = host.apply()
        assert result.status == "failed" and "exit code 3" in result.reason
        assert (SECRET in everything(host, result)) is seen


def test_tries_do_not_show_what_was_seen(tmp_path: Path) -> None:
    look = "shell: {cmd: 'echo {{ secret }} >&2; exit 1', read_only: true}"
    task = f"{look}, retries: 1, delay: 0"
    shown = everything(hidden(tmp_path, task), hidden(tmp_path, task).apply())
    assert SECRET in shown
    host = hidden(tmp_path, f"{task}, no_log: true")
    assert SECRET not in everything(host, host.apply())


def test_a_rescued_failure_stays_hidden(tmp_path: Path) -> None:
    text = """
- hosts: all
  tasks:
    - block: [{name: x, fail: {msg: "{{ secret }}"}, no_log: NO_LOG}]
      rescue: [{name: y, debug: {msg: rescued}}]
"""
    shown = everything(OneHost(tmp_path, text.replace("NO_LOG", "false"), secret=SECRET))
    assert SECRET in shown and "rescued" in shown
    kept = everything(OneHost(tmp_path, text.replace("NO_LOG", "true"), secret=SECRET))
    assert SECRET not in kept and "rescued" in kept


def test_no_log_of_a_block_cannot_be_taken_back_inside(tmp_path: Path) -> None:
    text = """
- hosts: all
  tasks:
    - no_log: true
      block: [{name: x, debug: {msg: "{{ secret }}"}, no_log: false}]
"""
    assert SECRET not in everything(OneHost(tmp_path, text, secret=SECRET))


def test_a_result_that_is_hidden_can_be_used(tmp_path: Path) -> None:
    text = """
- hosts: all
  tasks:
    - {name: look, command: {cmd: "echo {{ secret }}", read_only: true}, register: r, no_log: true}
    - {name: use, assert: {that: "r.stdout == secret"}}
"""
    host = OneHost(tmp_path, text, secret=SECRET)
    assert statuses(host.plan()) == ["ok", "ok"]
    assert SECRET not in everything(host)


def test_the_playbook_folder_of_an_imported_playbook(tmp_path: Path) -> None:
    from runner.errors import Origin
    from runner.playbook.load import load_playbook

    files = {
        "site.yaml": "- import_playbook: sub/p.yaml\n",
        "sub/p.yaml": "- hosts: all\n  tasks: [debug: {msg: '{{ playbook_dir }}'}]\n",
    }
    (play,) = load_playbook(write(tmp_path, files)).plays
    host = OneHost(tmp_path, "- hosts: all\n")
    where = Host("gpu-1", "192.0.2.1", Origin("hosts.yaml", 1, 1))
    host.subject = Subject(where, play, play.path or tmp_path)
    assert says(host) == [str(tmp_path / "sub")]


def test_a_rendered_text_that_matches_no_pattern_is_told_in_words(tmp_path: Path) -> None:
    text = '- hosts: all\n  tasks:\n    - nvidia_driver: {version: "{{ driver_version }}"}\n'
    problem = OneHost(tmp_path, text, driver_version="570").plan().problem
    assert problem
    assert problem.reason.endswith("nvidia_driver.version: '570' is not written like 570.86.15")
