"""`ansible_connection: local`: the same exchange as over SSH, on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import UnreachableError
from runner.hosts.connection import Connection
from runner.hosts.errors import HostError
from runner.hosts.script import Block, Command
from runner.inventory.model import LOCALHOST


@pytest.fixture
def here() -> Iterator[Connection]:
    with Connection(LOCALHOST) as connection:
        yield connection


def command(shell: str, key: str = "x", timeout: float = 10.0) -> Command:
    return Command(key, shell, timeout=timeout, become=False)


def test_looks_and_changes_as_over_ssh(here: Connection, tmp_path: Path) -> None:
    found = here.look([command("echo one", "a"), command("exit 3", "b"), command("cat", "c")])
    assert [(r.rc, r.text) for r in found.values()] == [(0, "one\n"), (3, ""), (0, "")]
    wanted = Block("x", command("true"), (command(f"echo it > {tmp_path}/made"),))
    assert [result.status for result in here.change([wanted])] == ["done"]
    assert (tmp_path / "made").read_text() == "it\n"


def test_what_a_step_reads_is_its_own(here: Connection) -> None:
    fed = Command("x", "cat", b"\x00 body", become=False)
    assert here.look([fed])["x"].stdout == b"\x00 body"


def test_a_step_that_takes_too_long_is_ended(here: Connection) -> None:
    assert here.look([command("sleep 60", timeout=0.2)])["x"].timed_out


def test_a_step_is_not_ended_by_ctrl_c_in_the_terminal(here: Connection) -> None:
    session = here.look([command("ps -o sid= -p $$")])["x"].text
    assert int(session) != os.getsid(0)


def test_its_shell_ends_and_leaves_no_files(here: Connection) -> None:
    told = here.look([command('echo "$PPID ${0%/*}"; ls -d /proc/$PPID')])["x"].text
    here.close()
    folder = told.split()[1]
    deadline = time.monotonic() + 10
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(folder).exists()


def test_a_shell_that_dies_is_told_as_lost(here: Connection) -> None:
    with pytest.raises(UnreachableError, match="localhost: lost while steps ran"):
        here.look([command("kill -KILL $(ps -o ppid= -p $PPID)")])
    assert here.look([command("echo again")])["x"].text == "again\n"


def test_this_machine_is_not_rebooted(here: Connection) -> None:
    with pytest.raises(HostError, match="it is not rebooted"):
        here.reboot(1)


def test_another_user_gets_a_shell_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past a sudo of our own that tells how it was called."""
    sudo = tmp_path / "sudo"
    sudo.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\nwhile [ "$1" != -- ]; do shift; done\n'
        'shift\nexec "$@"\n'
    )
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    one = Command("a", "echo one", user="nobody-special")
    two = Command("b", "echo two", become=False)
    with Connection(LOCALHOST) as here:
        results = here.change([Block("x", None, (one,)), Block("y", None, (two,))])
    assert [result.do[0].text for result in results] == ["one\n", "two\n"]
    assert (tmp_path / "calls").read_text() == "-n -H -u nobody-special -- sh -s\n"
