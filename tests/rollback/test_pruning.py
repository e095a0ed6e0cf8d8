"""A host does not keep the copies of all runs for ever."""

from __future__ import annotations

import os
from pathlib import Path

from tests.rollback.conftest import Project

PRIVATE = """
- name: a private file
  hosts: all
  tasks:
    - name: secret
      copy: {dest: {root}/secret, content: "TEXT\\n", mode: "0600"}
    - name: late
      shell: "LATE"
"""


def changed(project: Project, number: int, late: str = "true", keep: int = 2) -> int:
    text = PRIVATE.replace("TEXT", str(number)).replace("LATE", late)
    return project.apply(text, f"run-{number}", keep_copies=keep)


def kept(project: Project) -> list[str]:
    return sorted(path.name for path in (project.folder / "kept").iterdir())


def test_those_of_the_newest_runs_stay(project: Project) -> None:
    for number in range(1, 5):
        assert changed(project, number) == 0
    assert kept(project) == ["run-3", "run-4"]
    assert project.rollback("run-4", "--yes") == 0
    assert (project.root / "secret").read_text() == "3\n"


def test_a_run_that_fails_removes_nothing(project: Project) -> None:
    for number in range(1, 4):
        assert changed(project, number, late="exit 1") == 1
    assert kept(project) == ["run-1", "run-2", "run-3"]


def test_its_own_stay_and_what_is_no_folder_of_a_run_is_left(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert changed(project, 1, keep=1) == 0
    (tmp_path / "kept" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "kept" / "other").mkdir()
    os.utime(tmp_path / "kept" / "other", (2**32, 2**32))
    assert changed(project, 2, keep=1) == 0
    assert kept(project) == ["link", "other", "run-2"]
    assert (tmp_path / "elsewhere").is_dir()


def test_a_run_without_copies_asks_the_host_for_nothing(project: Project) -> None:
    for number in range(1, 4):
        assert changed(project, number) == 0
    text = "- {name: p, hosts: all, tasks: [{name: t, copy: {dest: {root}/f, content: new}}]}\n"
    assert project.apply(text, "run-9", keep_copies=1) == 0
    assert kept(project) == ["run-2", "run-3"]
