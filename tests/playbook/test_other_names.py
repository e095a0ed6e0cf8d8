"""A task may use Ansible's full names of modules and its other names of modules and arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import InputError
from runner.playbook.load import load_playbook_text

TASKS = {
    "systemd: {unit: containerd, state: started, scope: system}": ("service", "name"),
    "ansible.builtin.systemd_service: {name: containerd, daemon-reload: true}": ("service", "name"),
    "ansible.builtin.package: {name: jq}": ("package", "name"),
    "ansible.builtin.apt: {pkg: [jq]}": ("apt", "name"),
    "ansible.legacy.lineinfile: {dest: /etc/x, line: y}": ("lineinfile", "path"),
    "toml_patch: {path: /etc/x, set: {a: 1}}": ("toml", "path"),
    "file: {dest: /etc/x, state: absent}": ("file", "path"),
    'lineinfile: {dest: "{{ x }}", regex: "^a", value: b}': ("lineinfile", "regexp"),
}


@pytest.mark.parametrize("task", TASKS)
def test_other_names_mean_the_own_ones(task: str, tmp_path: Path) -> None:
    text = f"- hosts: all\n  tasks:\n    - {task}\n"
    (loaded,) = load_playbook_text(text, tmp_path / "x.yaml").plays[0].tasks
    module, argument = TASKS[task]
    assert loaded.module == module
    assert argument in loaded.arguments
    assert loaded.arguments.where(argument) is not None


def test_an_argument_under_two_names_is_a_mistake(tmp_path: Path) -> None:
    text = "- hosts: all\n  tasks:\n    - lineinfile: {path: /a, dest: /b, line: x}\n"
    with pytest.raises(InputError, match=r"x\.yaml:3:30: dest is another name of path"):
        load_playbook_text(text, tmp_path / "x.yaml")
