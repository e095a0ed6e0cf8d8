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


def without_importing(names: tuple[str, ...], *arguments: str) -> str:
    """What the command prints; fails when it imports one of the libraries."""
    script = (
        "import sys\n"
        f"sys.argv = ['gpurun', *{arguments!r}]\n"
        "from runner.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n    assert not done.code, done.code\n"
        f"heavy = [name for name in {names!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_lists_every_verb_without_importing_anything_heavy() -> None:
    printed = without_importing(HEAVY, "--help")
    for verb in VERBS:
        assert f"  {verb} " in printed


def test_lint_needs_no_ssh_no_cluster_and_no_terminal() -> None:
    heavy = ("paramiko", "fabric", "lightkube", "rich", "tomlkit", "sqlite3")
    assert "0 errors" in without_importing(heavy, "lint", "mig-7x1g")


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
