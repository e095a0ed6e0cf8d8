"""Every command of the tutorial and the README does what the page says, on a lab of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.lab import lifecycle
from runner.lab.layout import find_lab
from tests.docs.compare import difference
from tests.docs.pages import ROOT, blocks, steps

SECONDS = 600.0
"""A command that takes longer hangs."""


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder like a fresh clone, and the environment of somebody who follows the page.

    The page takes its lab down, so it has one of its own; its name is kept out of the page by the
    stand-in for ./dev, and by inventory/lab.yaml, which is this lab's.
    """
    name = f"{os.environ.get('GPURUN_TEST_LAB', 'test')}-page"
    lab = find_lab(name)
    lifecycle.down(lab, print)
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "playbooks", clone / "playbooks")
    (clone / "inventory").mkdir()
    (clone / "inventory" / "lab.yaml").symlink_to(f"{name}.yaml")
    program = f"PYTHONPATH={ROOT} exec {sys.executable} -m runner.cli.main"
    _program(tmp_path / "bin" / "gpurun", f'{program} "$@"')
    # ./dev lab VERB ... -> gpurun lab VERB --name NAME ...
    _program(clone / "dev", f'verb=$2; shift 2; exec gpurun lab "$verb" --name {name} "$@"')
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "GPURUN_JOURNAL": str(tmp_path / "journal.sqlite"),
    }
    yield clone, environment
    lifecycle.down(lab, print)


def _follow(page: Path, clone: Path, environment: dict[str, str]) -> None:
    """Do what the page says: write its files, run its commands, compare what they print."""
    status = 0
    for block in blocks(page, "console", "yaml"):
        if block.language == "yaml":
            (clone / block.file).write_text(block.text)
            continue
        for step in steps(block):
            status, output = _run(f"(exit {status})\n{step.command}", clone, environment)
            wrong = difference(step.output, output.splitlines())
            assert not wrong, f"{page.name}:{step.line}: $ {step.command}\n{wrong}"


def _run(script: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit status of the script, and what it printed."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.lab
def test_the_tutorial_is_true(reader: tuple[Path, dict[str, str]]) -> None:
    _follow(ROOT / "docs" / "tutorial.md", *reader)


@pytest.mark.lab
def test_the_output_in_the_readme_is_true(reader: tuple[Path, dict[str, str]]) -> None:
    status, output = _run("./dev lab up", *reader)
    assert status == 0, output
    _follow(ROOT / "README.md", *reader)
