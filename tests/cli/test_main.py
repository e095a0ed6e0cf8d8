"""The command line itself: help, wrong words, start-up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli.main import VERBS

HEAVY = ("paramiko", "fabric", "lightkube", "jinja2", "pydantic", "rich", "yaml", "tomlkit")


def gpurun(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "runner.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_help_lists_every_verb_without_importing_anything_heavy() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['gpurun', '--help']\n"
        "from runner.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n    assert not done.code, done.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"  {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    done = gpurun(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_a_misspelt_verb_names_the_nearest() -> None:
    done = gpurun("aply")
    assert done.returncode == 1
    assert "Did you mean 'apply'?" in done.stderr


def test_a_missing_inventory_option_is_said() -> None:
    done = gpurun("plan", "x.yaml")
    assert done.returncode == 1
    assert "-i" in done.stderr
    assert "Traceback" not in done.stderr


def test_doc_lists_modules_and_shows_one() -> None:
    listed = gpurun("doc")
    assert "daemonset_restart" in listed.stdout
    shown = gpurun("doc", "mig")
    assert "geometry" in shown.stdout
    wrong = gpurun("doc", "copi")
    assert wrong.returncode == 1
    assert "did you mean 'copy'?" in wrong.stderr


def test_schema_is_json() -> None:
    import json

    assert json.loads(gpurun("schema").stdout)["$schema"]
