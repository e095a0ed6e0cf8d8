"""A loop of which an item fails."""

from __future__ import annotations

from pathlib import Path

from tests.engine.plays import OneHost

PLAY = """
- name: a loop
  hosts: all
  tasks:
    - name: each
      shell: touch {folder}/{{{{ item }}}} && test {{{{ item }}}} != b
      loop: [a, b, c]
      register: done
      {more}
    - name: note
      copy: {{dest: {folder}/failed, content: "any: {{{{ done.failed }}}}"}}
"""


def test_the_first_failure_ends_it(tmp_path: Path) -> None:
    one = OneHost(tmp_path, PLAY.format(folder=tmp_path, more=""))
    assert one.apply().status == "failed"
    assert sorted(path.name for path in tmp_path.glob("?")) == ["a", "b"]


def test_one_that_is_ignored_lets_the_others_be_done(tmp_path: Path) -> None:
    one = OneHost(tmp_path, PLAY.format(folder=tmp_path, more="ignore_errors: true"))
    assert one.apply().status == "changed"
    assert sorted(path.name for path in tmp_path.glob("?")) == ["a", "b", "c"]
    assert (tmp_path / "failed").read_text() == "any: True"
