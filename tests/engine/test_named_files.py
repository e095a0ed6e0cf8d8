"""A file that a command names is looked at again before a later task works on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.plays import OneHost

PLAY = """
- name: a command and the file it makes
  hosts: all
  tasks:
    - name: made
      {command}
    - name: edited
      lineinfile: {{path: {folder}/conf, line: ours, create: true}}
"""


@pytest.mark.parametrize(
    "command",
    [
        "shell: echo theirs > FOLDER/conf",
        "command: {cmd: sh FOLDER/make, creates: FOLDER/conf}",
        "command: {argv: [cp, FOLDER/from, FOLDER/./conf]}",
        "shell: {cmd: echo theirs >conf, chdir: FOLDER}",
    ],
    ids=["named", "creates", "argv", "chdir"],
)
def test_what_it_makes_of_it_is_known_after_it(tmp_path: Path, command: str) -> None:
    (tmp_path / "make").write_text(f"echo theirs > {tmp_path}/conf\n")
    (tmp_path / "from").write_text("theirs\n")
    command = command.replace("FOLDER", str(tmp_path))
    one = OneHost(tmp_path, PLAY.format(command=command, folder=tmp_path))
    plan = one.plan()
    assert [step.status for step in plan.steps] == ["change", "deferred"]
    assert plan.steps[1].reason == f"what 'made' makes of {tmp_path}/conf"
    assert one.apply(plan).status == "changed"
    assert (tmp_path / "conf").read_text() == "theirs\nours\n"


def test_a_folder_that_it_names_says_nothing_of_what_is_in_it(tmp_path: Path) -> None:
    command = f"shell: cp -a {tmp_path} {tmp_path}.before"
    one = OneHost(tmp_path, PLAY.format(command=command, folder=tmp_path))
    assert [step.status for step in one.plan().steps] == ["change", "change"]


def test_where_the_command_need_not_run_the_file_is_as_it_is_seen(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("theirs\n")
    command = f"command: {{cmd: 'false', creates: {tmp_path}/conf}}"
    one = OneHost(tmp_path, PLAY.format(command=command, folder=tmp_path))
    assert [step.status for step in one.plan().steps] == ["ok", "change"]
