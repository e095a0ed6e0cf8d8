"""A mistake is shown with its line and a caret; no secret and no control code comes along."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import Origin, Problem
from runner.reports.excerpts import as_text, excerpt


def shown(folder: Path, line: str, column: int = 1) -> list[str]:
    path = folder / "f.yaml"
    path.write_text(f"first\n{line}\n", encoding="utf-8")
    return excerpt(Origin(str(path), 2, column))


def test_place_level_line_caret_and_cure(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("- hosts: gpu\n  taks: []\n")
    problem = Problem("taks is not a key of a play", Origin(str(path), 2, 3), "Did you mean tasks?")
    assert as_text(problem).removeprefix(f"{tmp_path}/").splitlines() == [
        "f.yaml:2:3: error: taks is not a key of a play",
        "  2 |   taks: []",
        "        ^",
        "    Did you mean tasks?",
    ]


def test_a_place_without_a_line_and_a_file_that_is_not_there() -> None:
    assert as_text(Problem("no such file", Origin("x"))) == "x: error: no such file"
    assert (
        as_text(Problem("bad", Origin("gone", 3, 1), level="warning")) == "gone:3:1: warning: bad"
    )
    assert as_text(Problem("bad")) == "error: bad"


@pytest.mark.parametrize(
    "line",
    [
        "ansible_password: hunter2",
        "h1 ansible_become_pass=hunter2 ansible_port=x",
        '{"api_key": "hunter2"}',
        "    - shell: {cmd: x, token: hunter2}",
    ],
)
def test_what_stands_behind_the_name_of_a_secret_is_hidden(tmp_path: Path, line: str) -> None:
    text = "\n".join(shown(tmp_path, line))
    assert "hunter2" not in text and "********" in text


def test_the_path_of_a_key_is_no_secret(tmp_path: Path) -> None:
    line, _ = shown(tmp_path, "ansible_ssh_private_key_file: ~/.ssh/id_ed25519")
    assert "id_ed25519" in line


def test_control_codes_are_not_passed_on(tmp_path: Path) -> None:
    text = "\n".join(shown(tmp_path, "a: \x1b[31mred\u202e"))
    assert "\x1b" not in text and "\u202e" not in text


def test_the_caret_stands_under_its_column_after_a_tab(tmp_path: Path) -> None:
    line, caret = shown(tmp_path, "a:\tb", 4)
    assert line[caret.index("^")] == "b"


def test_a_long_line_is_cut_around_the_column(tmp_path: Path) -> None:
    line, caret = shown(tmp_path, "x" * 500 + "!" + "y" * 500, 501)
    assert len(line) < 120
    assert line[caret.index("^")] == "!"
