"""`run_once`: one host does it, the others have the result, and none goes on if it failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.engine.states import HostState
from runner.errors import UnreachableError
from tests.engine.plays import statuses
from tests.engine.test_run import Connection
from tests.engine.test_set_fact import run

ONCE = """
- name: once
  hosts: all
  preconditions:
    - assert: {{that: inventory_hostname != refused | default("")}}
  tasks:
    - name: makes
      shell: echo made by {{{{ inventory_hostname }}}} | tee -a {folder}/made
      register: made
      run_once: true
    - set_fact: {{word: "{{{{ inventory_hostname }}}}"}}
      run_once: true
    - name: uses
      copy:
        content: "{{{{ made.stdout }}}} {{{{ word }}}}"
        dest: "{folder}/{{{{ inventory_hostname }}}}"
"""


def of_host(states: list[HostState]) -> dict[str, HostState]:
    return {state.host.name: state for state in states}


def test_the_others_have_what_the_first_one_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = run(tmp_path, ONCE.format(folder=tmp_path), monkeypatch)
    assert [s.result.status for s in states if s.result] == ["changed", "changed"]
    assert (tmp_path / "made").read_text() == "made by a\n"
    assert (tmp_path / "b.example").read_text() == "made by a a"


def test_a_plan_shows_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = of_host(run(tmp_path, ONCE.format(folder=tmp_path), monkeypatch, "plan"))
    first, other = hosts["a"].plan, hosts["b.example"].plan
    assert first is not None and other is not None
    assert statuses(first) == ["ok", "change", "ok", "deferred"]
    assert statuses(other) == ["ok", "skipped", "skipped", "deferred"]
    assert other.steps[1].reason == "once, on a"


def test_a_refused_host_does_not_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ONCE.format(folder=tmp_path).replace("  tasks:", "  vars: {refused: a}\n  tasks:")
    hosts = of_host(run(tmp_path, text, monkeypatch))
    assert {n: s.result.status for n, s in hosts.items() if s.result} == {
        "a": "denied",
        "b.example": "changed",
    }
    assert (tmp_path / "made").read_text() == "made by b.example\n"


def test_if_it_fails_no_other_host_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = Connection.change

    def breaks(self: Connection, blocks: object) -> object:
        if self.host.name == "a":
            raise UnreachableError("a: the connection broke")
        return change(self, blocks)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "change", breaks)
    text = ONCE.format(folder=tmp_path).replace("  tasks:", "  serial: 100%\n  tasks:")
    hosts = of_host(run(tmp_path, text, monkeypatch))
    assert hosts["b.example"].result is not None
    assert hosts["b.example"].result.reason == (
        "not begun: what is done once, on a, is unreachable"
    )
    assert not (tmp_path / "b.example").exists()
