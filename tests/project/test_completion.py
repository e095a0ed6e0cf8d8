"""Shell completion: what bash itself offers, and the scripts of the other shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.conftest import Gpurun

PROGRAM = """#!/bin/sh
exec {python} -m runner.cli.main "$@"
"""
OFFER = """
complete -p gpurun >/dev/null || exit 9
COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1))
_gpurun_completion gpurun
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def offered(folder: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    script = 'eval "$(gpurun completion bash)"\n'
    script += OFFER.format(words=" ".join(f"'{word}'" for word in words), count=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder,
        env={
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "prod.yaml").write_text("all: {hosts: {a: }}\n")
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "mine.yaml").write_text("- hosts: all\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gpurun").write_text(PROGRAM.format(python=sys.executable))
    (tmp_path / "bin" / "gpurun").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("gpurun", "pl"), {"plan", "playbooks"}),
        (
            ("gpurun", "apply", "mig-"),
            {f"mig-{x}" for x in ("7x1g", "all-balanced", "layout", "off")},
        ),
        (("gpurun", "plan", "x", "-i", "p"), {"prod"}),
        (("gpurun", "doc", "daemon"), {"daemonset_restart"}),
        (("gpurun", "apply", "--lock"), {"--lock-timeout"}),
    ],
    ids=lambda words: words[-1] if isinstance(words, tuple) else "",
)
def test_bash_offers(folder: Path, words: tuple[str, ...], wanted: set[str]) -> None:
    assert offered(folder, *words) == wanted


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_asks_this_program(gpurun: Gpurun, shell: str) -> None:
    code, printed = gpurun("completion", shell)
    assert code == 0
    assert f"_GPURUN_COMPLETE={shell}_complete" in printed


def test_another_shell_is_refused(gpurun: Gpurun) -> None:
    assert "'csh' is not one of" in gpurun("completion", "csh")[1]
