"""Advice on playbooks, and the schema editors use."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from runner.playbook.lint import lint
from runner.playbook.load import load_playbook_text
from runner.playbook.schema import schema

SHIPPED = sorted((Path(__file__).parents[2] / "playbooks").glob("*.yaml"))


def advice(tasks: str, more: str = "") -> list[str]:
    text = f"- hosts: gpu\n{more}  tasks:\n{tasks}"
    return [str(problem) for problem in lint(load_playbook_text(text, Path("p.yaml")))]


def test_nothing_to_say_of_a_good_playbook() -> None:
    assert advice("    - name: Say it\n      debug: {msg: x}\n") == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_nothing_to_say_of_shipped_playbooks(path: Path) -> None:
    assert lint(load_playbook_text(path.read_text(), path)) == []


def test_a_task_without_a_name() -> None:
    (only,) = advice("    - debug: {msg: x}\n")
    assert only.startswith("p.yaml:3:7: the debug task has no name")


def test_a_handler_nobody_notifies() -> None:
    more = "  handlers:\n    - name: restart\n      service: {name: x, state: restarted}\n"
    (only,) = advice("    []\n", more)
    assert 'no task notifies the handler "restart"' in only


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("systemctl --now restart containerd", "service"),
        ("apt-get -y install nvidia-container-toolkit", "apt"),
        ("mkdir -p /etc/x", "file"),
        ("nvidia-smi mig -cgi 19", "mig"),
        ("sudo reboot", "reboot"),
        ("kubectl label node x a=b", "node_label"),
        ("sed -E -i s/a/b/ /etc/x", "lineinfile"),
        ("sysctl -w vm.swappiness=1", "sysctl"),
        ("modprobe br_netfilter", "modprobe"),
        ("curl -L https://example.com/x -o /x", "get_url"),
    ],
)
def test_a_command_for_what_a_module_does(command: str, module: str) -> None:
    (only,) = advice(f"    - name: x\n      command: {{cmd: {command}, creates: /x}}\n")
    assert f"the module {module} does this" in only


def test_a_command_that_cannot_tell_whether_it_is_needed() -> None:
    (only,) = advice("    - name: x\n      command: ldconfig\n")
    assert "nothing tells whether the command is needed" in only


@pytest.fixture(scope="module")
def validator() -> Any:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_playbooks_fit_the_schema(validator: Any, path: Path) -> None:
    assert [
        error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))
    ] == []


@pytest.mark.parametrize(
    "play",
    [
        {"tasks": []},
        {"hosts": "gpu", "task": []},
        {"hosts": "gpu", "tasks": [{"name": "x"}]},
        {"hosts": "gpu", "tasks": [{"debug": {"msg": "x"}, "reboot": None}]},
        {"hosts": "gpu", "tasks": [{"copy": {"dset": "/x"}}]},
        {"hosts": "gpu", "tasks": [{"file": {"path": "/x", "state": "folder"}}]},
        {"hosts": "gpu", "tasks": [{"copy": {"dest": "/x", "content": {"environ": "X"}}}]},
        {"hosts": "gpu", "tasks": [{"copy": {"dest": "/x", "content": {"env": "X", "file": "f"}}}]},
        {"hosts": "gpu", "drain": {"mode": "soft"}},
        {"hosts": "gpu", "drain": {"taint": "example.com/repair=yes:NoExecute"}},
        {"hosts": "gpu", "risk": "severe"},
    ],
)
def test_the_schema_refuses(validator: Any, play: dict[str, Any]) -> None:
    assert not validator.is_valid([play])


def test_the_schema_accepts_templates_everywhere(validator: Any) -> None:
    task = {"file": {"path": "{{ p }}", "state": "{{ s }}"}, "loop": "{{ l }}"}
    assert validator.is_valid([{"hosts": "gpu", "tasks": [task]}])


def test_the_schema_accepts_secrets_as_values_of_arguments(validator: Any) -> None:
    for secret in ({"env": "X"}, {"command": ["pass", "x"]}, {"sops": "f.yaml", "key": "a.b"}):
        task = {"copy": {"dest": "/x", "content": secret}}
        assert validator.is_valid([{"hosts": "gpu", "tasks": [task]}])


def test_what_a_role_or_an_include_brings_is_not_advised_on_as_ones_own(tmp_path: Path) -> None:
    """Its handlers are for whoever needs them; a check of a file's name needs no name."""
    for name, text in {
        "roles/app/handlers/main.yml": "- {name: unused, debug: {msg: x}}\n",
        "roles/app/tasks/main.yml": "- debug: {msg: x}\n",
        "tasks/a.yaml": "- {name: Named, debug: {msg: x}}\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    text = "- hosts: all\n  roles: [app]\n  tasks: [include_tasks: 'tasks/{{ x }}.yaml']\n"
    told = [problem.message for problem in lint(load_playbook_text(text, tmp_path / "p.yaml"))]
    assert sorted(told) == ["the debug task has no name", "variable x is not defined"]


EVERYTHING = """
- import_playbook: other.yaml
  vars: {a: 1}
- hosts: gpu
  vars_files: [a.yaml, [b.yaml, c.yaml]]
  module_defaults: {file: {mode: "0700"}}
  max_fail_percentage: 10
  any_errors_fatal: false
  order: sorted
  force_handlers: true
  tags: a
  no_log: "{{ hide }}"
  roles: [one, {role: two, vars: {a: 1}, when: x}]
  pre_tasks: [{debug: {msg: x}, with_items: [a]}]
  tasks:
    - include_tasks: {file: "{{ x }}.yaml", apply: {become: true}}
      loop: [a]
      loop_control: {loop_var: x, label: "{{ x }}", extended: true}
    - import_tasks: x.yaml
    - ansible.builtin.include_role: {name: one, tasks_from: other, apply: {tags: a}}
    - import_role: {name: one, public: true}
    - include_vars: {file: a.yaml, name: x}
    - block: [{debug: {msg: x}, no_log: true}]
      notify: [topic]
      timeout: 5m
  post_tasks: [{debug: {msg: x}, with_dict: {a: 1}}]
  handlers: [{name: x, debug: {msg: x}, listen: topic}]
  rollout: {max_failed: "10%"}
"""


def test_the_schema_knows_all_of_the_language(validator: Any) -> None:
    assert [error.message for error in validator.iter_errors(yaml.safe_load(EVERYTHING))] == []


@pytest.mark.parametrize(
    "task",
    [
        {"include_tasks": "x.yaml", "become": True},
        {"include_tasks": {"apply": {}}},
        {"import_tasks": "x.yaml", "loop": ["a"]},
        {"include_role": {"name": "x", "role": "y"}},
        {"include_vars": {"dir": "x"}},
        {"debug": {"msg": "x"}, "loop_control": {"pause": 3}},
    ],
)
def test_the_schema_refuses_a_task(validator: Any, task: dict[str, Any]) -> None:
    assert not validator.is_valid([{"hosts": "gpu", "tasks": [task]}])
