"""docs/project.md has every setting as it is; docs/lint.md shows what lint prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.cli.lint import lint
from runner.cli.settings import SETTINGS, load_config
from tests.docs.pages import ROOT, blocks

PROJECT = ROOT / "docs" / "project.md"


def test_the_table_has_every_setting_with_its_option_and_variable() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| `(GPURUN_\w+)` \|", PROJECT.read_text(), re.M)
    assert [(key, variable) for key, _, variable in rows] == [(s.key, s.variable) for s in SETTINGS]
    for (_, options, _), setting in zip(rows, SETTINGS, strict=True):
        assert f"`{setting.flag}`" in options


def test_the_example_of_a_file_is_right_and_sets_nearly_everything(tmp_path: Path) -> None:
    (block,) = blocks(PROJECT, "toml")
    path = tmp_path / "gpurun.toml"
    path.write_text(block.text)
    assert set(load_config(path).values) == {s.option for s in SETTINGS} - {"colour"}


def test_lint_prints_what_its_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("playbooks").mkdir()
    Path("playbooks/motd.yaml").write_text(
        "- hosts: all\n  vars:\n    motd_text: hello\n  tasks:\n    - name: motd\n"
        '      copy: {dset: /etc/motd, content: "{{ motd_text }}\\n"}\n'
    )
    (shown,) = blocks(ROOT / "docs" / "lint.md", "text")
    result = CliRunner().invoke(lint, ["playbooks/motd.yaml"], standalone_mode=False)
    assert result.output == shown.text
