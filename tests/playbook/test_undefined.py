"""Undefined variables are found without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from runner.engine.planning import Needs
from runner.engine.variables import Facts, variables_of
from runner.errors import Problem
from runner.modules.base import Refused
from runner.playbook.lint import lint
from runner.playbook.load import load_playbook_text
from runner.playbook.references import references
from runner.playbook.undefined import MAGIC
from tests.engine.plays import subject

TASKS = "- hosts: all\n  vars: {known: 1}\n  tasks:\n"


def found(
    tasks: str,
    hosts: Mapping[str, set[str]] | None = None,
    extra: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> list[Problem]:
    playbook = load_playbook_text(TASKS + tasks, Path("p.yaml"))

    def read(name: str) -> bytes:
        if files and name in files:
            return files[name].encode()
        raise Refused(f"the file '{name}' is not there")

    return lint(playbook, (lambda play: hosts) if hosts is not None else None, extra, read)


def task(text: str, more: str = "") -> str:
    return f"    - name: T\n      debug: {text!r}\n{more}"


@pytest.mark.parametrize(
    "tasks",
    [
        task("{{ known }} {{ inventory_hostname }} {{ groups.all }} {{ facts.kernel }}"),
        task("{{ own }}", "      vars: {own: 1}\n"),
        task("{{ item }}", "      loop: [1]\n"),
        task("{{ missing | default(1) }}"),
        task("{{ missing.deep | default(1) }}"),
        task("{{ missing.deep + 1 }}", "      when: missing.deep is defined\n"),
        task("{% for one in [1] %}{{ one }}{{ loop.index }}{% endfor %}"),
        task("{% set one = 1 %}{{ one }}{{ range(3) | list }}"),
        "    - {name: A, command: ls, args: {creates: /x}, register: r}\n" + task("{{ r.rc }}"),
        "    - {name: A, command: ls, args: {creates: /x}, register: r, failed_when: r.rc > 1}\n",
        "    - {name: A, template: {src: a.j2, dest: /x}}\n",
        "    - {name: A, set_fact: {size: '{{ known }}'}}\n" + task("{{ size }}"),
        "    - {name: A, shell: ls, args: {creates: /x}, register: r, until: r.rc == 0}\n",
        "    - block: [{name: A, debug: x}]\n      rescue: [{name: B, debug: '{{ "
        "ansible_failed_task.name }}'}]\n",
    ],
)
def test_what_is_defined_is_not_complained_about(tasks: str) -> None:
    assert found(tasks, files={"a.j2": "{{ known }}\n"}) == []


def test_without_an_inventory_it_is_a_warning_that_says_so() -> None:
    (only,) = found(task("{{ missing }}"))
    assert str(only).startswith("p.yaml:5:14: variable missing is not defined")
    assert only.level == "warning"
    assert "the inventory or -e must" in only.hint and "-i" in only.hint


def test_the_nearest_name_is_told() -> None:
    (only,) = found(task("{{ knwon }}"))
    assert "Did you mean known?" in only.hint


def test_a_name_is_told_once_for_a_play() -> None:
    assert len(found(task("{{ missing }}") * 3)) == 1


def test_with_an_inventory_it_is_an_error_where_a_host_lacks_it() -> None:
    hosts: dict[str, set[str]] = {"a": {"size"}, "b": set(), "c": {"size"}}
    (only,) = found(task("{{ size }}"), hosts)
    assert only.level == "error"
    assert only.message == "variable size is not defined for b"
    assert found(task("{{ size }}"), {"a": {"size"}}) == []


def test_under_a_condition_it_is_a_warning_as_the_task_may_not_run_there() -> None:
    (only,) = found(task("{{ size }}", "      when: known == 2\n"), {"a": set()})
    assert only.level == "warning"


def test_extra_variables_define() -> None:
    assert found(task("{{ size }}"), {"a": set()}, ("size",)) == []


def test_a_result_used_before_it_is_there_is_an_error() -> None:
    later = "    - {name: A, command: ls, args: {creates: /x}, register: r}\n"
    (only,) = found(task("{{ r.rc }}") + later)
    assert only.level == "error"
    assert only.message == "variable r is not defined yet"
    assert "line 6" in only.hint


@pytest.mark.parametrize(
    "tasks",
    [
        task("x", "      when: missing > 1\n"),
        task("x", "      loop: '{{ missing }}'\n"),
        task("x", "      environment: {A: '{{ missing }}'}\n"),
        task("x", "      failed_when: missing > 1\n"),
        task("{{ known }}", "      vars: {known: '{{ missing }}'}\n"),
        "    - {name: A, assert: {that: missing > 1}}\n",
        "    - {name: A, assert: {that: [known == 1, missing > 1]}}\n",
        "    - {name: A, template: {src: a.j2, dest: /x}}\n",
        task("x") + "  handlers:\n" + task("{{ missing }}").replace("name: T", "name: H"),
        task("x") + "  verify:\n" + task("{{ missing }}"),
    ],
)
def test_names_are_looked_for_everywhere(tasks: str) -> None:
    messages = [p.message for p in found(tasks, files={"a.j2": "a\n{{ missing }}\n"})]
    assert "variable missing is not defined" in messages


def test_variables_of_the_play_are_looked_at_where_they_are_written() -> None:
    text = "- hosts: all\n  vars:\n    a: '{{ missing }}'\n    b: '{{ a }} {{ item }}'\n"
    text += "  tasks:\n    - {name: T, debug: '{{ b }}', loop: [1]}\n"
    (only,) = lint(load_playbook_text(text, Path("p.yaml")))
    assert str(only).startswith("p.yaml:3:8: variable missing is not defined")


def test_a_file_that_is_not_there_is_an_error() -> None:
    (only,) = found("    - {name: A, copy: {src: motd, dest: /x}}\n")
    assert (only.level, str(only)) == ("error", "p.yaml:4:29: the file 'motd' is not there")


def test_the_engine_gives_every_host_the_names_that_are_taken_for_granted(tmp_path: Path) -> None:
    of_host = subject(tmp_path, "- hosts: all\n  tasks:\n    - {name: T, debug: x}\n")
    given = variables_of(of_host, of_host.play.tasks[0], {}, Facts({}, Needs()))
    assert set(given) == MAGIC


def test_what_a_play_registers_is_there_in_the_plays_after_it() -> None:
    first = TASKS + "    - {name: A, command: ls, args: {creates: /x}, register: r}\n"
    text = first + "- hosts: all\n  tasks:\n" + task("{{ r.rc }}")
    assert lint(load_playbook_text(text, Path("p.yaml"))) == []


def test_references_of_a_template_that_cannot_be_read_are_none() -> None:
    assert references("{{ ").used == frozenset()
