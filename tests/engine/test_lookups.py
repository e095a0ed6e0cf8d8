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
