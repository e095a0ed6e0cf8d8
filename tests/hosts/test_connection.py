"""Looking and changing over a real sshd."""

from __future__ import annotations

import getpass

from runner.hosts.connection import Connection
from runner.hosts.script import Command
from tests.hosts.conftest import Sshd


def test_look_keeps_exit_codes_and_streams_apart(sshd: Sshd) -> None:
    commands = [
        Command("good", "echo out; echo err >&2", become=False),
        Command("bad", "printf no-newline; exit 3", become=False),
        Command("body", "cat", stdin=b"a\0b\xff\n\n", become=False),
        Command("who", "id -un", become=False),
    ]
    with Connection(sshd.host()) as connection:
        results = connection.look(commands)
    assert (results["good"].rc, results["good"].stdout, results["good"].stderr) == (
        0,
        b"out\n",
        b"err\n",
    )
    assert (results["bad"].rc, results["bad"].stdout) == (3, b"no-newline")
    assert results["body"].stdout == b"a\0b\xff\n\n"
    assert results["who"].text == f"{getpass.getuser()}\n"
