"""Playbooks are found by name from anywhere; a path is taken as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.cli.options import RunOptions
from runner.errors import InputError
from runner.playbook.find import find_playbook, known_playbooks
from runner.shipped import shipped
from tests.project.conftest import Gpurun

MINE = "# Mine.\n- hosts: all\n  tasks:\n    - {name: Say, debug: mine}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    (folder / "playbooks").mkdir(parents=True)
    (folder / "playbooks" / "mig-off.yaml").write_text(MINE)
    (folder / "gpurun.toml").touch()
    monkeypatch.chdir(folder)
    return folder


def test_a_path_then_the_project_then_what_is_shipped(project: Path) -> None:
    assert find_playbook("mig-off", project) == Path("playbooks/mig-off.yaml")
    assert find_playbook("mig-7x1g", project) == shipped() / "playbooks" / "mig-7x1g.yaml"
    assert find_playbook("mig-7x1g.yaml", project) == shipped() / "playbooks" / "mig-7x1g.yaml"
    (project / "mig-off").write_text(MINE)
    assert find_playbook("mig-off", project) == Path("mig-off")


def test_a_name_that_is_not_there_lists_what_is(project: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_playbook("mig-of", project)
    message = str(caught.value)
    assert "there is no playbook mig-of" in message and "Did you mean mig-off?" in message
    for name in known_playbooks(project):
        assert name in message


def test_a_path_that_is_not_there_tells_the_name_of_the_shipped_one(project: Path) -> None:
    with pytest.raises(InputError, match="found by its name: mig-7x1g"):
        find_playbook("playbooks/mig-7x1g.yaml", project)


def test_the_list_says_what_each_is_for(gpurun: Gpurun, tmp_path: Path) -> None:
    (tmp_path / "work" / "playbooks").mkdir()
    (tmp_path / "work" / "playbooks" / "mine.yaml").write_text(MINE)
    (tmp_path / "work" / "playbooks" / "bare.yaml").write_text(MINE.partition("\n")[2])
    (tmp_path / "work" / "playbooks" / "odd.yaml").write_bytes(b"\xff\n")
    code, printed = gpurun("playbooks")
    assert code == 0
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert ["mine", "Mine."] in lines and ["bare"] in lines and ["odd"] in lines
    data = {row["name"]: row for row in json.loads(gpurun("playbooks", "-o", "json")[1])}
    assert data["mine"]["file"].endswith("work/playbooks/mine.yaml")
    assert data["mig-7x1g"]["summary"].startswith("Cut every GPU")


def test_a_shipped_playbook_is_planned_from_an_empty_folder(gpurun: Gpurun) -> None:
    printed = gpurun("plan", "mig-7x1g", "-i", "127.0.0.1,")[1]
    assert "pattern 'gpu' matches no host and no group" in printed


def test_the_journal_keeps_whole_paths_and_plain_names(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "below").mkdir()
    (project / "below" / "hosts.yaml").write_text("all: {hosts: {a: }}\n")
    (project / "inventory").mkdir()
    (project / "inventory" / "prod.yaml").write_text("all: {hosts: {a: }}\n")
    monkeypatch.chdir(project / "below")
    options = RunOptions.of(
        "mig-off", inventories=("prod", "hosts.yaml", "a,b"), extra=("@hosts.yaml",)
    )
    kept = options.as_arguments()
    below = f"{project}/below/hosts.yaml"
    assert kept["playbook"] == f"{project}/playbooks/mig-off.yaml"
    assert kept["inventories"] == ["prod", below, "a,b"]
    assert kept["extra"] == [f"@{below}"]
    assert RunOptions.from_arguments(kept).project == str(project)
