"""Variables of -e that nothing uses: mistyped names are refused, used ones never."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.engine.unused import unused, unused_problem
from runner.errors import Origin
from runner.inventory.model import Host
from runner.playbook.document import Playbook
from runner.playbook.load import load_playbook
from runner.playbook.source import parse_yaml
from runner.playbook.templates import source

PLAY = "- name: p\n  hosts: all\n  tasks:\n    - name: t\n      "


def loaded(folder: Path, text: str) -> Playbook:
    (folder / "p.yaml").write_text(text)
    return load_playbook(folder / "p.yaml", {})


def host(variables: str = "{}") -> Host:
    return Host("a", "a", Origin("hosts"), variables=parse_yaml(variables, "hosts").value)


@pytest.mark.parametrize(
    "play",
    [
        "- hosts: all\n  vars: {size: 1}\n  tasks: []\n",
        PLAY + 'debug: {msg: "{{ size }}"}\n',
        PLAY + 'debug: {msg: "{% if size %}a{% endif %}"}\n',
        PLAY + "debug: {msg: \"{{ '}}' ~ size }}\"}\n",
        PLAY + 'debug: {msg: "{{ 1\n          + size }}"}\n',
        PLAY + "debug: {var: size}\n",
        PLAY + "assert:\n        that:\n          - 1 == 1\n          - size == 1\n",
        PLAY + "debug: {msg: a}\n      when:\n        - 1 == 1\n        - size is defined\n",
        PLAY + "command: a\n      register: r\n      until:\n        - size\n",
        PLAY + "debug: {msg: a}\n      vars: {size: 1}\n",
        PLAY + "block:\n        - debug: {msg: a}\n      when: size | default(false)\n",
        PLAY + "template: {src: a.j2, dest: /a}\n",
        PLAY + "include_tasks: tasks.yaml\n",
        PLAY + "include_vars: more.yaml\n    - debug: {msg: a}\n",
        PLAY + 'include_tasks: "{{ size }}.yaml"\n      when: false\n      vars: {size: tasks}\n',
        "- hosts: all\n  roles: [role]\n",
        "- hosts: all\n  vars_files: [more.yaml]\n  tasks: []\n",
        "- import_playbook: other.yaml\n",
    ],
)
def test_a_name_that_any_part_of_the_playbook_refers_to_is_used(tmp_path: Path, play: str) -> None:
    (tmp_path / "a.j2").write_text("{% if size %}a{% endif %}")
    (tmp_path / "tasks.yaml").write_text("- command: a\n  changed_when: size\n")
    (tmp_path / "more.yaml").write_text("size: 1\n")
    (tmp_path / "other.yaml").write_text(PLAY + 'debug: {msg: "{{ size }}"}\n')
    for part, text in (("tasks", "- debug: {msg: a}\n"), ("defaults", "size: 1\n")):
        (tmp_path / "roles/role" / part).mkdir(parents=True)
        (tmp_path / "roles/role" / part / "main.yaml").write_text(text)
    assert unused(loaded(tmp_path, play), [host()], {"size": "1", "sise": "1"}) == ["sise"]


@pytest.mark.parametrize(
    "play",
    [
        PLAY + "debug: {msg: \"{{ lookup('vars', 'si' ~ 'ze') }}\"}\n",
        PLAY + "debug: {msg: \"{{ query('ansible.builtin.template', 'a.j2') }}\"}\n",
        PLAY + "debug: {msg: \"{{ hostvars['a']['si' ~ 'ze'] }}\"}\n",
        PLAY + 'template: {src: "{{ inventory_hostname }}.j2", dest: /a}\n',
        PLAY + "template: {src: missing.j2, dest: /a}\n",
    ],
)
def test_where_use_cannot_be_told_nothing_is_said(tmp_path: Path, play: str) -> None:
    assert unused(loaded(tmp_path, play), [host()], {"size": "1"}) == []


@pytest.mark.parametrize(
    "variables", ["{size: 1}", '{motd: "{{ size }}"}', '{a: [{b: "{{ size }}"}]}']
)
def test_what_the_inventory_names_is_used(tmp_path: Path, variables: str) -> None:
    playbook = loaded(tmp_path, PLAY + "debug: {msg: a}\n")
    assert unused(playbook, [host(), host(variables)], {"size": "1"}) == []


def test_what_another_extra_variable_names_is_used(tmp_path: Path) -> None:
    playbook = loaded(tmp_path, PLAY + 'debug: {msg: "{{ text }}"}\n')
    assert unused(playbook, [host()], source({"text": "{{ size }}", "size": "1"})) == []


@pytest.mark.parametrize("name", ["ansible_user", "kubeconfig", "drain", "kubernetes_context"])
def test_names_that_gpurun_knows_are_used(tmp_path: Path, name: str) -> None:
    assert unused(loaded(tmp_path, PLAY + "debug: {msg: a}\n"), [host()], {name: "1"}) == []


def test_an_argument_of_a_module_and_words_of_a_sentence_are_no_variables(tmp_path: Path) -> None:
    play = "# The version.\n- hosts: all\n  vars: {driver_version: 570.86.15}\n  tasks:\n"
    play += "    - name: The version\n      nvidia_driver:\n"
    play += '        version: "{{ driver_version }}"\n'
    playbook = loaded(tmp_path, play)
    assert unused(playbook, [host()], {"version": "1"}) == ["version"]
    assert unused_problem("version", playbook, [host()]).hint == "Did you mean driver_version?"
    assert unused_problem("xyz", playbook, [host()]).hint == (
        "The playbook's variables: driver_version."
    )
