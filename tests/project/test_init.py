"""gpurun init: a project that is complete, and nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

from runner.cli.init import MODELINE
from runner.inventory.load import load_inventory
from runner.playbook.find import known_playbooks
from runner.playbook.schema import schema
from runner.shipped import shipped
from tests.project.conftest import Gpurun


def test_a_new_project_has_what_one_begins_with(gpurun: Gpurun, tmp_path: Path) -> None:
    code, printed = gpurun("init", "mine")
    folder = tmp_path / "work" / "mine"
    assert code == 0
    assert "cp inventory/prod.example.yaml inventory/prod.yaml" in printed
    assert (folder / "playbooks/tasks/load-driver.yaml").is_file(), "what playbooks import"
    for path in (shipped() / "playbooks").glob("*.yaml"):
        assert (folder / "playbooks" / path.name).read_text() == MODELINE + path.read_text()
    for name in ("README.md", ".gitignore", "gpurun.toml", "inventory/prod.example.yaml"):
        assert (folder / name).read_text()


def test_the_next_step_can_be_pasted_whatever_the_folder_is_called(gpurun: Gpurun) -> None:
    code, printed = gpurun("init", "gpu nodes")
    assert code == 0
    assert "  cd 'gpu nodes'\n" in printed


def test_editors_are_pointed_at_the_schema(gpurun: Gpurun, tmp_path: Path) -> None:
    gpurun("init", "mine")
    folder = tmp_path / "work" / "mine"
    settings = json.loads((folder / ".vscode/settings.json").read_text())
    ((pointed, globs),) = settings["yaml.schemas"].items()
    named = MODELINE.split("$schema=")[1].strip()
    assert (folder / pointed).resolve() == (folder / "playbooks" / named).resolve()
    assert json.loads((folder / pointed).read_text()) == schema()
    found = {path for pattern in globs for path in folder.glob(pattern)}
    assert found == set((folder / "playbooks").glob("*.yaml"))


def test_it_works_at_once(gpurun: Gpurun, tmp_path: Path) -> None:
    gpurun("init", ".")
    folder = tmp_path / "work"
    assert "0 errors, 0 warnings" in gpurun("lint", "playbooks")[1]
    assert set(known_playbooks(folder).values()) == set((folder / "playbooks").glob("*.yaml"))
    assert load_inventory([str(folder / "inventory" / "prod.example.yaml")], folder).hosts
    assert "Cut every GPU" in gpurun("playbooks")[1]


def test_nothing_is_overwritten_and_nothing_half_written(gpurun: Gpurun, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    (folder / "README.md").write_text("mine")
    (folder / "gpurun.toml").write_text("")
    code, printed = gpurun("init", ".")
    assert code == 1
    assert "README.md: error: is there already" in printed
    assert "gpurun.toml: error: is there already" in printed
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "gpurun.toml"]


def test_a_folder_that_cannot_be_written_is_said(gpurun: Gpurun, tmp_path: Path) -> None:
    (tmp_path / "work" / "file").write_text("")
    code, printed = gpurun("init", "file/mine")
    assert (code, "cannot be written" in printed) == (1, True)
