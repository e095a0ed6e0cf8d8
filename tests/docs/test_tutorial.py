"""Every command of the tutorial does what the page says, on a lab of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.lab import lifecycle
from runner.lab.layout import find_lab
from tests.docs.compare import difference
from tests.docs.pages import ROOT, blocks, steps

PAGE = ROOT / "docs" / "tutorial.md"
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
    for page in (ROOT / "playbooks").glob("*.yaml"):
        (clone / "playbooks").mkdir(parents=True, exist_ok=True)
        (clone / "playbooks" / page.name).write_text(page.read_text())
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


@pytest.mark.lab
def test_the_tutorial_is_true(reader: tuple[Path, dict[str, str]]) -> None:
    clone, environment = reader
    status = 0
    for block in blocks(PAGE, "console", "yaml"):
        if block.language == "yaml":
            (clone / block.file).write_text(block.text)
            continue
        for step in steps(block):
            done = subprocess.run(
                ["bash", "-c", f"(exit {status})\n{step.command}"],
                cwd=clone,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                text=True,
                check=False,
            )
            status = done.returncode
            wrong = difference(step.output, done.stdout.splitlines())
            assert not wrong, f"docs/tutorial.md:{step.line}: $ {step.command}\n{wrong}"
