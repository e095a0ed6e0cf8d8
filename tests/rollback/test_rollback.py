"""`gpurun rollback RUN`: what it brings back, what it refuses, what it says it cannot do."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from runner.errors import GpurunError
from tests.files.local import snapshot
from tests.rollback.conftest import Project

FILES = """
- name: a daemon's files
  hosts: all
  tasks:
    - name: settings
      copy: {dest: {root}/settings, content: "new\\n", mode: "0640"}
      notify: restart
    - name: folder
      file: {path: {root}/d/inner, state: directory}
    - name: made
      copy: {dest: {root}/d/inner/made, content: "made\\n"}
    - name: gone
      file: {path: {root}/gone, state: absent}
    - name: link
      file: {path: {root}/link, state: link, src: settings}
    - name: mode
      file: {path: {root}/mode, mode: "0400"}
    - name: settings again
      lineinfile: {path: {root}/settings, line: more}
      notify: restart
  handlers:
    - name: restart
      shell: cat {root}/settings >> {root}/../restarted
"""


def test_bytes_modes_owners_links_and_folders_are_as_before(project: Project) -> None:
    root = project.root
    (root / "settings").write_bytes(b"old\r\n\xc3\xa4 no newline")
    (root / "settings").chmod(0o604)
    os.chown(root / "settings", 12, 34)
    (root / "gone").write_text("was here\n")
    (root / "gone").chmod(0o751)
    (root / "link").symlink_to("elsewhere")
    (root / "mode").write_text("m\n")
    before = snapshot(root)
    assert project.apply(FILES) == 0
    assert (root / "settings").read_text() == "new\nmore\n"
    assert (root / "link").readlink() == Path("settings")
    assert project.rollback("run-1", "--yes") == 0
    assert snapshot(root) == before
    found = (root / "settings").stat()
    assert (found.st_uid, found.st_gid) == (12, 34)
    restarted = (project.folder / "restarted").read_bytes()
    assert restarted == b"new\nmore\n" + b"old\r\n\xc3\xa4 no newline", "once each"


def small(project: Project, before: str = "old\n") -> None:
    (project.root / "f").write_text(before)
    text = "- {name: p, hosts: all, tasks: [{name: t, copy: {dest: {root}/f, content: new}}]}\n"
    assert project.apply(text) == 0


def test_the_second_time_there_is_nothing_to_do(project: Project) -> None:
    small(project)
    assert project.rollback("run-1") == 0
    assert project.rollback("run-1") == 0
    assert "no change" in project.printed


def test_a_dry_run_shows_the_diff_and_changes_nothing(project: Project) -> None:
    small(project)
    assert project.rollback("run-1", "--dry-run") == 2
    assert f"~ restore {project.root}/f" in project.printed
    assert "-new" in project.printed and "+old" in project.printed
    assert (project.root / "f").read_text() == "new"


def test_a_file_that_was_changed_since_is_left_unless_forced(project: Project) -> None:
    small(project)
    (project.root / "f").write_text("theirs\n")
    assert project.rollback("run-1") == 4
    assert "has changed since run run-1: its content" in project.printed
    assert (project.root / "f").read_text() == "theirs\n"
    assert project.rollback("run-1", "--force") == 0
    assert (project.root / "f").read_text() == "old\n"


def test_a_changed_mode_counts_too(project: Project) -> None:
    small(project)
    (project.root / "f").chmod(0o600)
    assert project.rollback("run-1") == 4
    assert "mode 0644 -> 0600" in project.printed


def test_a_rollback_can_be_rolled_back(project: Project) -> None:
    small(project)
    assert project.rollback("run-1") == 0
    assert project.rollback(project.last_rollback()) == 0
    assert (project.root / "f").read_text() == "new"


def test_a_run_that_was_rolled_back_is_not_resumed(project: Project) -> None:
    small(project)
    assert project.rollback("run-1") == 0
    with pytest.raises(GpurunError, match="was rolled back"):
        project.resume("run-1")


def test_a_run_that_was_rolled_back_in_part_is_resumed_by_its_name_only_and_asks(
    project: Project,
) -> None:
    (project.root / "f").write_text("old\n")
    text = """
- name: p
  hosts: all
  tasks:
    - {name: t, copy: {dest: {root}/f, content: new}, risk: high}
    - {name: u, command: {cmd: "false"}}
"""
    assert project.apply(text) == 1
    assert project.rollback("run-1", "--yes", "--limit", "gpu-1") == 0
    with pytest.raises(GpurunError, match=f"run {project.last_rollback()} is done"):
        project.resume()
    assert project.resume("run-1") == 4
    assert f"Run {project.last_rollback()} came to undo this one" in project.printed
    assert (project.root / "f").read_text() == "old\n"


def test_a_high_risk_asks_again(project: Project) -> None:
    (project.root / "f").write_text("old\n")
    text = """
- name: p
  hosts: all
  tasks: [{name: t, copy: {dest: {root}/f, content: new}, risk: high}]
"""
    assert project.apply(text) == 0
    assert project.rollback("run-1") == 4
    assert (project.root / "f").read_text() == "new"
    assert project.rollback("run-1", "--yes") == 0
    assert (project.root / "f").read_text() == "old\n"


def test_what_is_no_file_is_said(project: Project) -> None:
    (project.root / "d").mkdir()
    (project.root / "d" / "f").write_text("x")
    text = """
- name: p
  hosts: all
  tasks:
    - {name: run it, command: "true"}
    - {name: folder, file: {path: {root}/d, state: absent}}
    - {name: t, copy: {dest: {root}/f, content: new}}
"""
    assert project.apply(text) == 0
    report = project.report("run-1", "--dry-run")
    told = report["not_undone"]
    assert [(each["hosts"], each["what"].split(": ")[0]) for each in told] == [
        (["gpu-1"], "run it"),
        (["gpu-1"], "folder"),
    ]
    assert "removed with all in it" in told[1]["what"]
    assert project.rollback("run-1") == 0
    assert "not undone: gpu-1: run it" in project.printed
    assert not (project.root / "f").exists()


def test_a_folder_in_which_others_put_something_is_left(project: Project) -> None:
    text = """
- name: p
  hosts: all
  tasks: [{name: folder, file: {path: {root}/d/e, state: directory}}]
"""
    assert project.apply(text) == 0
    (project.root / "d" / "theirs").write_text("x")
    assert project.rollback("run-1", "--yes") == 0
    assert "is left: it holds theirs" in project.printed
    assert snapshot(project.root).keys() == {"d", "d/theirs"}


def test_an_unknown_handler_is_an_error_before_any_host(project: Project) -> None:
    text = """
- name: p
  hosts: all
  tasks: [{name: t, copy: {dest: {root}/f, content: new}, notify: restart}]
  handlers: [{name: restart, shell: "true"}]
"""
    assert project.apply(text) == 0
    project.write("- {name: p, hosts: all, tasks: []}")
    with pytest.raises(GpurunError, match="the handler 'restart' of that run is not in the play"):
        project.rollback("run-1")


def test_a_run_without_changes_is_an_error(project: Project) -> None:
    assert project.apply("- {name: p, hosts: all, tasks: [{debug: {msg: x}}]}") == 0
    with pytest.raises(GpurunError, match="changed nothing"):
        project.rollback("run-1")


def test_a_run_without_files_is_not_brought_back_and_stays_as_it_is(project: Project) -> None:
    assert project.apply('- {name: p, hosts: all, tasks: [{name: run it, command: "false"}]}') == 1
    with pytest.raises(GpurunError, match="nothing that can be brought back") as raised:
        project.rollback("run-1")
    assert raised.value.hint == "not undone: gpu-1: run it: run false"
    assert project.resume("run-1") == 1, "not recorded as rolled back"


def test_a_path_that_looks_like_a_template_is_only_a_path(project: Project) -> None:
    name = "{" + "{ 6 * 7 }" + "}"
    path = '{root}/{{ "{" }}{ 6 * 7 }{{ "}" }}'
    text = f"""
- name: p
  hosts: all
  tasks:
    - name: t
      copy:
        dest: '{path}'
        content: new
"""
    assert project.apply(text) == 0
    assert (project.root / name).read_text() == "new"
    assert project.rollback("run-1") == 0
    assert not (project.root / name).exists()
    assert name in project.printed


def test_a_handler_that_fails_leaves_the_file_as_the_run_left_it(project: Project) -> None:
    (project.root / "f").write_text("old\n")
    text = """
- name: p
  hosts: all
  tasks: [{name: t, copy: {dest: {root}/f, content: "new\\n"}, notify: restart}]
  handlers: [{name: restart, shell: grep -q new {root}/f}]
"""
    assert project.apply(text) == 0
    assert project.rollback("run-1", "--yes") == 1
    assert (project.root / "f").read_text() == "new\n"


# ---- what the journal must not hold ----------------------------------------------------------

PRIVATE = """
- name: p
  hosts: all
  tasks:
    - {name: t, copy: {dest: {root}/private, content: "new-password\\n"}}
    - {name: u, copy: {dest: {root}/made, content: "fresh-password\\n", mode: "0600"}}
"""


def test_a_private_file_is_kept_on_the_host_only(project: Project) -> None:
    private = project.root / "private"
    private.write_text("old-password\n")
    private.chmod(0o600)
    assert project.apply(PRIVATE) == 0
    private_to_root = [project.copies, *project.copies.iterdir()]
    assert {path.stat().st_mode & 0o077 for path in private_to_root} == {0}
    for told in (b"old-password", b"new-password", b"fresh-password"):
        assert told not in project.journal
    for text in (b"old-password\n", b"new-password\n", b"fresh-password\n"):
        assert hashlib.sha256(text).hexdigest().encode() not in project.journal
    assert project.rollback("run-1") == 0
    assert private.read_text() == "old-password\n"
    assert not (project.root / "made").exists()
    assert "password" not in project.printed


def test_a_private_file_that_changed_since_is_left(project: Project) -> None:
    private = project.root / "private"
    private.write_text("old-password\n")
    private.chmod(0o600)
    assert project.apply(PRIVATE) == 0
    private.write_text("theirs\n")
    assert project.rollback("run-1") == 4
    assert private.read_text() == "theirs\n"


def test_what_is_kept_on_the_host_is_checked_when_it_is_read(project: Project) -> None:
    private = project.root / "private"
    private.write_text("old-password\n")
    private.chmod(0o600)
    assert project.apply(PRIVATE) == 0
    for note in project.copies.glob("*.after"):
        note.write_text("$(reboot)\n")
    assert project.rollback("run-1", "--yes") == 1
    assert "is damaged" in project.printed


def test_the_copy_is_of_what_was_there_last(project: Project) -> None:
    private = project.root / "private"
    private.write_text("first-password\n")
    private.chmod(0o600)
    text = """
- name: p
  hosts: all
  tasks: [{name: t, copy: {dest: {root}/private, content: "new-password\\n", validate: FAIL %s}}]
"""
    assert project.apply(text.replace("FAIL", "false")) == 1
    private.write_text("second-password\n")
    assert project.apply(text.replace("FAIL", "true"), resumed=True) == 0
    assert project.rollback("run-1") == 0
    assert private.read_text() == "second-password\n"


def test_the_copy_is_not_of_what_the_run_itself_had_made(project: Project) -> None:
    """Two tasks that undo each other, and a resumed run that does them again."""
    private = project.root / "private"
    private.write_text("old-password\n")
    private.chmod(0o600)
    text = """
- name: p
  hosts: all
  tasks:
    - {name: t, copy: {dest: {root}/private, content: "one-password\\n"}}
    - {name: u, copy: {dest: {root}/private, content: "two-password\\n"}}
"""
    assert project.apply(text) == 0
    assert project.apply(text, resumed=True) == 0
    assert project.rollback("run-1") == 0
    assert private.read_text() == "old-password\n"


def test_a_copy_that_is_gone_is_said(project: Project) -> None:
    private = project.root / "private"
    private.write_text("old-password\n")
    private.chmod(0o600)
    assert project.apply(PRIVATE) == 0
    for copy in project.copies.iterdir():
        copy.unlink()
    assert project.rollback("run-1") == 4
    assert "kept of it on this host is gone" in project.printed


def test_without_room_for_the_copy_nothing_is_changed(project: Project) -> None:
    private = project.root / "private"
    private.write_text("old-password\n" * 1_000)
    private.chmod(0o600)
    place = project.copies.parent
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place)], check=True)
    try:
        assert project.apply(PRIVATE) == 1
        assert list(project.copies.iterdir()) == [], "no half of a copy"
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert "No space left on device" in project.printed
    assert private.read_text() == "old-password\n" * 1_000
    assert not (project.root / "made").exists()


def test_a_large_file_is_copied_on_the_host(project: Project) -> None:
    large = project.root / "large"
    large.write_bytes(b"0123456789abcdef" * 100_000)
    digest = large.read_bytes()
    text = "- {name: p, hosts: all, tasks: [{name: t, copy: {dest: {root}/large, content: x}}]}"
    assert project.apply(text) == 0
    assert project.rollback("run-1") == 0
    assert large.read_bytes() == digest


def test_files_of_no_log_tasks_are_not_shown(project: Project) -> None:
    (project.root / "f").write_text("whisper-old\n")
    text = """
- name: p
  hosts: all
  tasks: [{name: t, copy: {dest: {root}/f, content: "whisper-new\\n"}, no_log: true}]
"""
    assert project.apply(text) == 0
    assert project.rollback("run-1") == 0
    assert (project.root / "f").read_text() == "whisper-old\n"
    assert "whisper" not in project.printed
    assert b"whisper" not in project.journal


def test_a_file_with_a_secret_is_not_in_the_journal(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_TEST", "fresh-token-1")
    (project.root / "f").write_text("token = stale-token-0\n")
    text = """
- name: p
  hosts: all
  vars: {token: !secret {env: TOKEN_OF_TEST}}
  tasks: [{name: t, copy: {dest: {root}/f, content: "token = {{ token }}\\n"}}]
"""
    assert project.apply(text) == 0
    assert project.rollback("run-1") == 0
    assert (project.root / "f").read_text() == "token = stale-token-0\n"
    assert project.rollback(project.last_rollback()) == 0
    assert (project.root / "f").read_text() == "token = fresh-token-1\n"
    for told in (b"stale-token-0", b"fresh-token-1"):
        assert told not in project.journal


def test_a_journal_of_an_older_gpurun_is_used_on(project: Project) -> None:
    import sqlite3

    small(project)
    database = sqlite3.connect(project.folder / "journal.sqlite")
    database.executescript("DROP TABLE kept; PRAGMA user_version = 1")
    database.close()
    with pytest.raises(GpurunError, match="changed nothing"):
        project.rollback("run-1")
    assert project.apply((project.folder / "p.yaml").read_text(), "run-2") == 0
