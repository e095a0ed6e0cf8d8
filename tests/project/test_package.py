"""What `pip install gpurun` brings: built from the sources, installed in a clean environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = (
    *("runner", "playbooks", "templates", "inventory", "deploy"),
    *("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"),
)


def _run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.pyc"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("built")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ".", cwd=copy)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gpurun in an environment of its own; only what it depends on comes from this one."""
    folder = tmp_path_factory.mktemp("clean")
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    install = (
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-compile",
        "--no-index",
        wheel,
    )
    _run(sys.executable, "-m", "pip", *install, cwd=folder)
    own = Path(
        _run(python, "-c", "import sysconfig as s; print(s.get_path('purelib'))", cwd=folder)[:-1]
    )
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_archives_hold_the_code_and_what_is_shipped(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    packaged = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "runner", "playbooks", "templates"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    wanted = {name for name in tracked if (ROOT / name).exists()}
    assert wanted - sources == set()
    in_wheel = {
        name if name.startswith("runner/") else f"runner/_shipped/{name}" for name in wanted
    }
    assert in_wheel - packaged == set()
    assert "runner/_shipped/inventory/prod.example.yaml" in packaged
    assert "runner/_shipped/deploy/rbac.yaml" in packaged
    assert not [name for name in packaged if "test" in name.partition("/")[0]]


def test_the_installed_program_makes_a_project_and_finds_what_is_shipped(installed: Path) -> None:
    program = installed / "venv" / "bin" / "gpurun"
    assert "gpurun, version " in _run(program, "--version", cwd=installed)
    assert "0 errors, 0 warnings" in _run(program, "lint", "mig-7x1g", cwd=installed)
    assert "geometry" in _run(program, "doc", "mig", cwd=installed)
    _run(program, "init", "project", cwd=installed)
    shipped = list(installed.glob("venv/lib/*/site-packages/runner/_shipped/playbooks/*"))
    made = list((installed / "project" / "playbooks").iterdir())
    assert {path.name for path in made} == {path.name for path in shipped} != set()
