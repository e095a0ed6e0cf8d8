"""Handlers without a change of their own: what a run has done is not owed to the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.plays import OneHost

PLAY = """
- name: a file and who is told of it
  hosts: all
  vars: {{restarts: false}}
  tasks:
    - name: changed
      copy: {{dest: {0}/file, content: x}}
      notify: told
  handlers:
    - name: told
      {1}
"""


@pytest.mark.parametrize(
    "handler",
    [
        "debug: {msg: it was told}",
        "command: {cmd: 'true', read_only: true}",
        "shell: touch {0}/told\n      when: restarts",
        "file: {path: {0}, state: directory}",
        "stat: {path: {0}/file}",
    ],
    ids=["message", "look", "condition", "nothing to do", "known after the change"],
)
def test_a_handler_that_changed_nothing_is_not_owed(tmp_path: Path, handler: str) -> None:
    one = OneHost(tmp_path, PLAY.format(tmp_path, handler.replace("{0}", str(tmp_path))))
    assert one.apply().status == "changed"
    again = one.again()
    assert [step.label for step in again.steps] == ["changed"]
    assert [step.status for step in again.steps] == ["ok"]


def test_a_handler_whose_failure_is_ignored_is_not_owed(tmp_path: Path) -> None:
    handler = f"shell: touch {tmp_path}/told; false\n      ignore_errors: true"
    one = OneHost(tmp_path, PLAY.format(tmp_path, handler))
    assert one.apply().status == "changed"
    assert (tmp_path / "told").exists()
    assert [step.status for step in one.again().steps] == ["ok"]
