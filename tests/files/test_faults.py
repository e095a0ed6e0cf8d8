"""Whatever breaks while a file is changed: it is the old or the new one, and nothing is left."""

from __future__ import annotations

import shutil
import signal as signals
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.hosts.script import Command, Result
from runner.modules.base import Change
from tests.files.local import Local, run

OLD, NEW = "old\n" * 2_000, "new\n" * 3_000
"""8 and 12 KB: two and three pages."""
LEFT = ".gpurun.*"


def change_of(host: Local, module: str = "copy", **more: Any) -> Change:
    given = {"dest": f"{host.root}/a", "content": NEW, "mode": "0640", **more}
    outcome = host.plan(module, given, host.observe(module, given))
    (change,) = outcome.changes
    return change


@pytest.fixture(autouse=True)
def _hangups_end_shells() -> Iterator[None]:
    """Whoever runs these tests may ignore SIGHUP, as nohup does, and every shell inherits that."""
    before = signals.signal(signals.SIGHUP, signals.SIG_DFL)
    yield
    signals.signal(signals.SIGHUP, before)


def carried_out(change: Change, shell: str = "") -> Result:
    """What the change's command says, after some shell of the test."""
    (command,) = change.do
    assert isinstance(command, Command)
    return run(shell + command.shell, command.stdin)


def is_whole(host: Local, content: str = OLD, mode: int = 0o644) -> bool:
    path = host.root / "a"
    return path.read_text() == content and path.stat().st_mode & 0o7777 == mode


def nothing_is_left(host: Local) -> bool:
    return not list(host.root.glob(LEFT))


@pytest.fixture
def host(tmp_path: Path) -> Local:
    host = Local(tmp_path / "root")
    host.root.mkdir()
    old_file(host)
    return host


def old_file(host: Local) -> None:
    (host.root / "a").write_text(OLD)
    (host.root / "a").chmod(0o644)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts for one test."""
    places: list[Path] = []

    def mount(*options: str) -> Path:
        place = tmp_path / f"mount-{len(places)}"
        place.mkdir()
        subprocess.run(["mount", *options, str(place)], check=True)
        places.append(place)
        return place

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", str(place)], check=True)


# ---- places that take no file ----------------------------------------------------------------


@pytest.mark.parametrize("pages", [0, 1, 2])
@pytest.mark.parametrize("backup", [False, True])
def test_a_full_disk(mounted: Callable[..., Path], pages: int, backup: bool) -> None:
    host = Local(mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs"))
    old_file(host)
    change = change_of(host, backup=backup)
    fill = subprocess.run(["sh", "-c", f"cat /dev/zero > {host.root}/full"], capture_output=True)
    assert b"No space left" in fill.stderr
    with (host.root / "full").open("r+b") as full:
        full.truncate((host.root / "full").stat().st_size - pages * 4096)
    result = carried_out(change)
    assert result.rc != 0 and "No space left on device" in result.error_text
    assert is_whole(host) and nothing_is_left(host)
    assert {path.name for path in host.root.iterdir()} == {"a", "full"}, "no half of a backup"
    (host.root / "full").unlink()
    host.apply(change)
    assert is_whole(host, NEW, 0o640)


def test_a_disk_with_room_for_the_file_and_not_for_its_backup(
    mounted: Callable[..., Path],
) -> None:
    host = Local(mounted("-t", "tmpfs", "-o", "size=24k", "tmpfs"))
    old_file(host)
    result = carried_out(change_of(host, backup=True))
    assert result.rc != 0 and "No space left on device" in result.error_text
    assert is_whole(host)
    assert [path.name for path in host.root.iterdir()] == ["a"]


def test_a_disk_without_a_free_inode(mounted: Callable[..., Path]) -> None:
    host = Local(mounted("-t", "tmpfs", "-o", "nr_inodes=2", "tmpfs"))
    old_file(host)
    result = carried_out(change_of(host))
    assert result.rc != 0 and "No space left on device" in result.error_text
    assert is_whole(host) and nothing_is_left(host)


def test_a_read_only_file_system(host: Local, mounted: Callable[..., Path]) -> None:
    place = mounted("--bind", "-o", "ro", str(host.root))
    read_only = Local(place)
    result = carried_out(change_of(read_only))
    assert result.rc != 0 and "Read-only file system" in result.error_text
    assert is_whole(read_only) and nothing_is_left(read_only)


@pytest.mark.parametrize("what", ["a", "."])
def test_an_immutable_file_or_folder(host: Local, what: str) -> None:
    change, path = change_of(host), str(host.root / what)
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        result = carried_out(change)
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert result.rc != 0 and "Operation not permitted" in result.error_text
    assert is_whole(host) and nothing_is_left(host)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_vanished(host: Local, exists: bool) -> None:
    if not exists:
        (host.root / "a").unlink()
    change = change_of(host)
    shutil.rmtree(host.root)
    assert run(change.guard).rc != 0 or carried_out(change).rc != 0
    assert not host.root.exists()


def test_a_folder_that_vanishes_under_the_change(host: Local) -> None:
    away = f'mv() {{ rm -rf {host.root}; command mv "$@"; }}\n'
    assert carried_out(change_of(host), away).rc != 0
    assert not host.root.exists()


# ---- an end in the middle --------------------------------------------------------------------

TOOLS = ("mktemp", "cat", "sha256sum", "chown", "chmod", "cp", "sync", "mv")


def ended(tool: str, when: str, signal: str) -> str:
    """Shell in which that tool ends the shell, once it runs or once it has run."""
    kill = f"kill -s {signal} $$"
    before, after = (kill, ":") if when == "before" else (":", kill)
    return f'{tool}() {{ {before}; command {tool} "$@"; rc=$?; {after}; return $rc; }}\n'


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("signal", ["HUP", "TERM", "PIPE", "KILL"])
def test_a_connection_or_shell_that_ends(host: Local, tool: str, when: str, signal: str) -> None:
    change = change_of(host, backup=True)
    result = carried_out(change, ended(tool, when, signal))
    assert result.rc != 0
    assert is_whole(host) or is_whole(host, NEW, 0o640)
    for backup in host.root.glob("a.*~"):
        assert backup.read_text() == OLD
    if signal != "KILL":
        assert nothing_is_left(host)
    if is_whole(host):
        host.apply(change)
    assert is_whole(host, NEW, 0o640)


@pytest.mark.parametrize("kind", ["copy", "link"])
def test_what_a_killed_change_left_goes_with_the_next_one(host: Local, kind: str) -> None:
    given = {"path": f"{host.root}/l", "state": "link", "src": "a"}
    outcome = host.plan("file", given, host.observe("file", given))
    change = change_of(host) if kind == "copy" else outcome.changes[0]
    carried_out(change, ended("mv", "before", "KILL"))
    assert not nothing_is_left(host)
    host.apply(change)
    assert nothing_is_left(host)


def test_what_belongs_to_another_file_stays(host: Local) -> None:
    other = host.root / ".gpurun.0123abcd.XXXXXXXX"
    other.write_text("of a change that is being made")
    host.apply(change_of(host))
    assert other.exists()


# ---- somebody else ---------------------------------------------------------------------------


def test_a_backup_of_a_large_file_is_put_back_whole_or_not_at_all(host: Local) -> None:
    large = "x" * (1024 * 1024 + 1)
    (host.root / "a").write_text(large)
    change = change_of(host, backup=True)
    host.apply(change)
    (undo,) = change.undo
    assert isinstance(undo, Command)
    assert run(ended("mv", "before", "TERM") + undo.shell).rc != 0
    assert is_whole(host, NEW, 0o640) and nothing_is_left(host)
    host.do(change.undo)
    assert is_whole(host, large)
