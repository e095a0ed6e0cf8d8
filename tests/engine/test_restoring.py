"""A handler that fails: the files that called for it are put back, and it runs with them again."""

from __future__ import annotations

from pathlib import Path

from tests.engine.plays import OneHost


def daemon(folder: Path, handler: str, more: str = "") -> OneHost:
    """A play that changes two files and creates one; `handler` stands for a daemon's restart."""
    (folder / "a").write_text("good\n")
    (folder / "a").chmod(0o640)
    (folder / "b").write_text("good\n")
    return OneHost(
        folder,
        f"""
- name: a daemon's files
  hosts: all
  tasks:
    - name: first
      copy: {{dest: {folder}/a, content: "bad\\n", mode: "0644"}}
      notify: restart
    - name: new
      copy: {{dest: {folder}/c, content: "bad\\n"}}
      notify: [restart]
    - name: of nobody's concern
      copy: {{dest: {folder}/b, content: "bad\\n"}}
{more}
  handlers:
    - name: restart
      {handler}
""",
    )


def test_the_files_are_as_they_were_and_the_daemon_runs_with_them(tmp_path: Path) -> None:
    one = daemon(
        tmp_path, f"shell: cat {tmp_path}/? >> {tmp_path}/tried; grep -q good {tmp_path}/a"
    )
    result = one.apply()
    assert result.status == "failed"
    assert "as they were, and with them it succeeded" in result.reason
    assert (tmp_path / "a").read_text() == "good\n"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert not (tmp_path / "c").exists()
    assert (tmp_path / "b").read_text() == "bad\n", "it did not call for the restart"
    assert (tmp_path / "tried").read_text() == "bad\nbad\nbad\n" + "good\nbad\n"


def test_the_next_plan_shows_the_change_and_no_restart_that_is_owed_before(tmp_path: Path) -> None:
    one = daemon(tmp_path, f"shell: grep -q good {tmp_path}/a")
    one.apply()
    again = one.again()
    assert [step.label for step in again.pending] == ["first", "new", "restart"]


def test_what_does_not_help_is_said(tmp_path: Path) -> None:
    one = daemon(tmp_path, "shell: echo broken for good >&2; exit 3")
    result = one.apply()
    assert result.status == "failed"
    assert "did not help: broken for good" in result.reason
    assert (tmp_path / "a").read_text() == "good\n"


def test_a_file_that_somebody_changed_meanwhile_is_left(tmp_path: Path) -> None:
    one = daemon(tmp_path, f"shell: echo theirs > {tmp_path}/a; exit 1")
    result = one.apply()
    assert result.status == "failed"
    assert (tmp_path / "a").read_text() == "theirs\n"


def test_the_other_files_are_put_back_all_the_same(tmp_path: Path) -> None:
    """Whichever of them is put back first."""
    once = f"test -e {tmp_path}/tried || echo theirs > {tmp_path}/c; touch {tmp_path}/tried"
    one = daemon(tmp_path, f"shell: {once}; grep -q good {tmp_path}/a")
    result = one.apply()
    assert result.status == "failed"
    assert f"but for {tmp_path}/c, are as they were, and with them it succeeded" in result.reason
    assert (tmp_path / "a").read_text() == "good\n"
    assert (tmp_path / "c").read_text() == "theirs\n"


def test_a_handler_without_files_just_fails(tmp_path: Path) -> None:
    text = """
- hosts: all
  tasks: [{name: run, shell: "true", notify: restart}]
  handlers: [{name: restart, shell: exit 3}]
"""
    result = OneHost(tmp_path, text).apply()
    assert result.status == "failed"
    assert "called for it" not in result.reason


def test_ignored_errors_of_a_handler_put_nothing_back(tmp_path: Path) -> None:
    one = daemon(tmp_path, "shell: exit 3\n      ignore_errors: true")
    assert one.apply().status == "changed"
    assert (tmp_path / "a").read_text() == "bad\n"
