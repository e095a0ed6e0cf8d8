"""A real sshd on 127.0.0.1, with keys and a home of its own; nothing of the user's is touched."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runner.errors import Origin
from runner.inventory.model import Host

_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
SetEnv PATH={folder}/bin:/usr/local/bin:/usr/bin:/bin
LogLevel ERROR
MaxStartups 100
"""


@dataclass(frozen=True)
class Sshd:
    """A running server and what is needed to get in."""

    folder: Path
    port: int

    def host(self, **changes: Any) -> Host:
        """The inventory host that gets in; `changes` spoil it."""
        host = Host(
            name="node-1",
            address="127.0.0.1",
            origin=Origin("hosts.yaml", 1, 1),
            port=self.port,
            user=getpass.getuser(),
            key_file=str(self.folder / "key"),
            known_hosts=str(self.known_hosts(self.port)),
        )
        return replace(host, **changes)

    def extra_key(self, name: str, options: str) -> str:
        """A further key that gets in, with options of authorized_keys before it."""
        file = self.folder / name
        new_key(file)
        with (self.folder / "authorized_keys").open("a") as keys:
            keys.write(f"{options} {(self.folder / f'{name}.pub').read_text()}")
        return str(file)

    def known_hosts(self, port: int) -> Path:
        """A known_hosts file that knows the server under a port (a proxy's, say)."""
        file = self.folder / f"known_hosts_{port}"
        public = (self.folder / "host_key.pub").read_text()
        file.write_text(f"[127.0.0.1]:{port} {public}")
        return file

    def through(self, port: int, **changes: Any) -> Host:
        """The same host by way of a proxy on another port."""
        return self.host(port=port, known_hosts=str(self.known_hosts(port)), **changes)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def new_key(file: Path) -> None:
    """An ed25519 key without a passphrase."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(file)]
    subprocess.run(command, check=True)


def start_sshd(folder: Path) -> tuple[Sshd, Callable[[], None]]:
    """Starts a server with its files in a folder, waits until it listens; returns what stops it."""
    new_key(folder / "host_key")
    new_key(folder / "key")
    (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(_CONFIG.format(port=port, folder=folder))
    binary = shutil.which("sshd") or "/usr/sbin/sshd"
    process = subprocess.Popen(
        [binary, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True
    )
    sshd = Sshd(folder, port)
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as greeting:
                greeting.recv(4)
            break
        except ConnectionRefusedError:
            continue
    else:
        assert process.stderr
        raise RuntimeError(f"sshd did not start: {process.stderr.read()}")

    def stop() -> None:
        process.terminate()
        process.wait(60)

    return sshd, stop


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server for all tests that do not change it."""
    server, stop = start_sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    stop()


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither the keys, the agent nor the ssh_config of whoever runs the tests take part."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home
