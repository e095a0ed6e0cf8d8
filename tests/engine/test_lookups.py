"""Lookups in a play: what is the user's own text is taken, what a host said is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.playbook import controller
from tests.engine.plays import OneHost, statuses


@pytest.fixture(autouse=True)
def _new_run() -> None:
    controller.forget()


def play(folder: Path, tasks: str, head: str = "") -> OneHost:
    indented = "".join(f"    {line}\n" for line in tasks.splitlines())
    text = f"- hosts: all\n{head}  tasks:\n{indented}"
    return OneHost(folder, text, site="lab")


def test_in_variables_arguments_conditions_and_loops(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for name in ("a", "b"):
        (tmp_path / "files" / name).write_text(f"text of {name}\n")
    (tmp_path / "motd.j2").write_text("{{ lookup('file', 'a') }} in {{ site }}\n")
    host = play(
        tmp_path,
        f"""\
- name: each
  copy:
    dest: {tmp_path}/out-{{{{ item }}}}
    content: "{{{{ lookup('file', item) }}}} {{{{ build }}}}"
  loop: [a, b]
  when: lookup('pipe', 'echo ' ~ site) == 'lab'
- name: a template
  template: {{src: motd.j2, dest: {tmp_path}/motd}}
""",
        "  vars:\n    build: \"{{ lookup('pipe', 'echo run >> runs; echo 7') }}\"\n",
    )
    plan = host.plan()
    assert statuses(plan) == ["change"] * 3
    host.apply(plan)
    assert (tmp_path / "out-b").read_text() == "text of b 7"
    assert (tmp_path / "motd").read_text() == "text of a in lab\n"
    assert statuses(host.again()) == ["ok"] * 3
    assert (tmp_path / "runs").read_text() == "run\n"


LOOK = """\
- name: look
  command: {{cmd: "echo {said}", read_only: true}}
  register: r
"""


@pytest.mark.parametrize(
    "task",
    [
        "debug: {msg: \"{{ lookup('pipe', 'touch ' ~ r.stdout) }}\"}",
        "debug: {msg: \"{{ lookup('file', r.stdout) }}\"}",
        "debug: {msg: \"{{ lookup('env', facts.kernel.release) }}\"}",
        'debug: {msg: "{{ lookup(\'pipe\', own) }}"}\n  vars: {own: "touch {{ r.stdout }}"}',
        'debug: {msg: "{{ lookup(\'pipe\', item) }}"}\n  loop: "{{ r.stdout_lines }}"',
        'debug: {msg: "{{ lookup(\'pipe\', item) }}"}\n  loop: ["touch {{ r.stdout }}"]',
        "debug: {msg: x}\n  when: lookup('pipe', 'touch ' ~ r.stdout) == ''",
        "debug: {msg: x}\n  loop: \"{{ query('lines', 'touch ' ~ r.stdout) }}\"",
        "debug: {msg: \"{{ lookup('pipe', hostvars | length) }}\"}",
    ],
)
def test_what_a_host_said_is_refused(task: str, tmp_path: Path) -> None:
    host = play(tmp_path, LOOK.format(said=tmp_path / "evil") + f"- name: use\n  {task}\n")
    plan = host.plan()
    assert statuses(plan) == ["ok", "failed"]
    assert "its arguments may come from a host" in plan.steps[-1].reason
    assert not (tmp_path / "evil").exists()


def test_a_registered_name_is_a_hosts_even_if_it_was_a_variable(tmp_path: Path) -> None:
    tasks = LOOK.format(said=tmp_path / "evil") + (
        "- name: use\n  debug: {msg: \"{{ lookup('pipe', 'touch ' ~ r.stdout) }}\"}\n"
    )
    host = play(tmp_path, tasks, "  vars: {r: {stdout: mine}}\n")
    assert statuses(host.plan()) == ["ok", "failed"]
    assert not (tmp_path / "evil").exists()


def test_what_set_fact_keeps_is_not_taken_for_the_users_text(tmp_path: Path) -> None:
    tasks = LOOK.format(said=tmp_path / "evil") + (
        '- name: keep\n  set_fact: {site: "touch {{ r.stdout }}"}\n'
        "- name: use\n  debug: {msg: \"{{ lookup('pipe', site) }}\"}\n"
    )
    assert statuses(play(tmp_path, tasks).plan()) == ["ok", "ok", "failed"]
    assert not (tmp_path / "evil").exists()


def test_a_lookup_of_what_is_not_known_yet_waits(tmp_path: Path) -> None:
    host = play(
        tmp_path,
        f"""\
- name: change
  copy: {{dest: {tmp_path}/x, content: x}}
  register: r
- name: after
  debug: {{msg: "{{{{ lookup('vars', 'r').nothing_known }}}}"}}
""",
    )
    assert statuses(host.plan()) == ["change", "deferred"]


def in_role(folder: Path, tasks: str) -> OneHost:
    role = folder / "roles" / "motd"
    for name in ("tasks", "defaults", "files", "templates"):
        (role / name).mkdir(parents=True)
    (role / "defaults" / "main.yaml").write_text("lines: \"{{ lookup('file', 'lines') }}\"\n")
    (role / "files" / "lines").write_text("of the role\n")
    (role / "templates" / "t.j2").write_text("{{ lines }}, rendered")
    (role / "tasks" / "main.yaml").write_text(tasks)
    (folder / "lines").write_text("beside the playbook\n")
    return OneHost(folder, "- hosts: all\n  roles: [motd]\n")


def test_a_role_finds_its_own_files_first(tmp_path: Path) -> None:
    host = in_role(
        tmp_path,
        f"""\
- name: what was found
  copy:
    dest: {tmp_path}/found
    content: |
      {{{{ lines }}}}
      {{{{ lookup('template', 't.j2') }}}}
      {{{{ query('fileglob', 'l*') | map('relpath', role_path) | join }}}}
      {{{{ lookup('first_found', ['none', 'lines']) | relpath(role_path) }}}}
""",
    )
    assert host.apply().status == "changed"
    found = (tmp_path / "found").read_text().splitlines()
    assert found == ["of the role", "of the role, rendered", "files/lines", "files/lines"]


def test_a_host_cannot_say_where_a_role_is(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "files").mkdir(parents=True)
    (tmp_path / "elsewhere" / "files" / "lines").write_text("chosen by the host\n")
    told = f'echo "{tmp_path}/elsewhere"'
    host = in_role(
        tmp_path,
        f"""\
- command: {{cmd: sh -c '{told}', read_only: true}}
  register: said
- set_fact: {{role_path: "{{{{ said.stdout }}}}"}}
- debug: {{msg: "{{{{ lookup('file', 'lines') }}}}"}}
""",
    )
    assert [text for step in host.plan().steps for text in step.messages] == ["beside the playbook"]
