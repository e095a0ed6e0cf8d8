"""Filters, tests and lookups that Ansible's users know, with the results Ansible gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from runner.playbook import controller
from runner.playbook.lookups import OWN
from runner.playbook.templates import TemplateProblem, check, holds, render
from tests.playbook import ansible_results
from tests.playbook.ansible_rows import (
    BAD_CONDITIONS,
    CONDITIONS,
    DIFFERENT,
    FAIL,
    REFUSED,
    SAME,
    VARIABLES,
)

Answers = dict[str, dict[str, Any]]
OURS = {**VARIABLES, "playbook_dir": "/tmp", OWN: frozenset(VARIABLES)}


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What Ansible gives for every row, by its text."""
    home = str(tmp_path_factory.mktemp("ansible"))
    asked = {
        "variables": VARIABLES,
        "values": [*SAME, *FAIL, *(text for text, _, _ in DIFFERENT)],
        "conditions": [*CONDITIONS, *BAD_CONDITIONS],
    }
    done = subprocess.run(
        [sys.executable, ansible_results.__file__],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HOME": home, "ANSIBLE_HOME": home, "LC_ALL": "C.UTF-8"},
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return {
        kind: dict(zip(asked[kind], answers[kind], strict=True))
        for kind in ("values", "conditions")
    }


@pytest.fixture(autouse=True)
def _new_run() -> Iterator[None]:
    controller.forget()
    yield
    controller.forget()


def outcome(give: Any, text: str) -> str:
    """What gpurun gives, with the types that JSON keeps apart: 1 is not 1.0, nor true."""
    try:
        return as_json(give(text))
    except TemplateProblem:
        return REFUSED


def as_json(value: Any) -> str:
    return json.dumps(ansible_results.plain(value), sort_keys=True)


def value(text: str) -> Any:
    return render("{{ " + text + " }}", OURS, None)


def condition(text: str) -> bool:
    return holds(text, OURS, None)


def test_values_are_those_of_ansible(ansible: Answers) -> None:
    theirs = {text: as_json(ansible["values"][text]["value"]) for text in SAME}
    assert {text: outcome(value, text) for text in SAME} == theirs


def test_errors_are_errors_in_ansible_too(ansible: Answers) -> None:
    assert [text for text in FAIL if "error" not in ansible["values"][text]] == []
    assert [text for text in FAIL if outcome(value, text) != REFUSED] == []


@pytest.mark.parametrize(("text", "wanted", "reason"), DIFFERENT)
def test_different_on_purpose(text: str, wanted: Any, reason: str, ansible: Answers) -> None:
    theirs = as_json(ansible["values"][text]["value"])
    expected = REFUSED if wanted == REFUSED else as_json(wanted)
    assert outcome(value, text) == expected != theirs, reason


def test_conditions_are_those_of_ansible(ansible: Answers) -> None:
    theirs = {text: as_json(ansible["conditions"][text]["value"]) for text in CONDITIONS}
    assert {text: outcome(condition, text) for text in CONDITIONS} == theirs


def test_what_is_no_condition_is_none_in_ansible_either(ansible: Answers) -> None:
    assert [text for text in BAD_CONDITIONS if "error" not in ansible["conditions"][text]] == []
    assert [text for text in BAD_CONDITIONS if outcome(condition, text) != REFUSED] == []


class TestAbsentNames:
    """What Ansible has and gpurun has not is refused while loading, with the nearest way."""

    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ("l | random", "the filter random of Ansible is not offered", "would differ"),
            ("l | shuffle", "the filter shuffle of Ansible is not offered", "would differ"),
            ("s | password_hash('sha512')", "the filter password_hash of", "mkpasswd"),
            ("s | ansible.builtin.realpath", "the filter realpath of", "normpath"),
            ("d | community.general.json_query('a')", "the filter json_query of", "selectattr"),
            ("d | json_query('a')", "the filter json_query of", "selectattr"),
            ("s | ansible.utils.ipaddr", "the filter ipaddr of", "regex_search"),
            ("s | win_basename", "the filter win_basename of", "basename"),
            ("s is file", "the test file of Ansible is not offered", "read_only: true"),
            ("s is exists", "the test exists of", "read_only: true"),
            ("r is finished", "the test finished of", "timeout"),
            ("s is ansible.builtin.directory", "the test directory of", "read_only: true"),
            ("now()", "the function now of", "lookup('pipe', 'date +%s')"),
            ("cycler('a')", "the function cycler of", "loop.cycle"),
            ("lookup('password', 'x')", "the lookup password of", "mkpasswd"),
            ("query('url', 'http://x')", "the lookup url of", "curl"),
            ("lookup('community.general.random_string')", "the lookup random_string of", "hash"),
            ("lookup('ansible.builtin.ini', 'x')", "the lookup ini of", "vars_files"),
            ("lookup('evn', 'X')", "there is no lookup named evn", "Did you mean env?"),
            ("l | map('shuffle')", "the filter shuffle of", "would differ"),
            ("l | select('exists')", "the test exists of", "read_only"),
            ("l | selectattr('a', 'fiel')", "there is no test named fiel", ""),
            ("s | to_jsn", "there is no filter named to_jsn", "Did you mean to_json?"),
            ("s | community.x.made", "the filter community.x.made comes from a collection", ""),
            ("t and (s | shuffle)", "the filter shuffle of", "would differ"),
        ],
    )
    def test_by_name_without_evaluating(self, text: str, message: str, hint: str) -> None:
        problem = check("{{ " + text + " }}", None)
        assert problem
        assert message in problem.message
        assert hint in problem.hint

    def test_a_variable_may_have_the_name_of_a_function(self) -> None:
        assert render("{{ now }}", {"now": 5}, None) == 5
        text = "{% macro now() %}x{% endmacro %}{{ now() }}"
        assert render(text, {}, None) == "x"


class TestFullNames:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("{'a': 1} | ansible.builtin.combine({'b': 2})", {"a": 1, "b": 2}),
            ("['a', 'b'] | select('ansible.builtin.match', 'a') | list", ["a"]),
            ("['a'] | map('ansible.builtin.b64encode') | list", ["YQ=="]),
            ("missing | ansible.builtin.default(1)", 1),
            ("'1.2' is ansible.builtin.version('1.1', '>')", True),
            ("[1] | ansible.legacy.flatten", [1]),
        ],
    )
    def test_are_the_short_ones(self, text: str, value: Any) -> None:
        assert render("{{ " + text + " }}", OURS, None) == value


class TestBackslashes:
    def test_a_value_keeps_those_that_yaml_left(self) -> None:
        assert render(r"{{ 'gpu-07' | regex_replace('^gpu-(\d+)$', 'n\1') }}", {}, None) == "n07"
        assert render(r"C:\new {{ 'a\b' }}", {}, None) == r"C:\new a\b"

    def test_a_statement_keeps_jinjas_rule(self) -> None:
        assert render(r"{% set x = 'a\tb' %}{{ x }}", {}, None) == "a\tb"


def test_relpath_does_not_depend_on_where_gpurun_runs() -> None:
    assert value("'a/b' | relpath('a/c')") == "../b"
    assert value("'/a/b' | relpath('/a')") == "b"
    for text in ("'../a' | relpath('c')", "'a' | relpath('/c')"):
        assert outcome(value, text) == REFUSED
