"""Every way in which a host cannot be reached ends in one sentence that says which it is."""

from __future__ import annotations

import getpass
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import Origin, UnreachableError
from runner.hosts.connection import Connection
from runner.hosts.errors import SilentError
from runner.hosts.script import Command
from runner.inventory.model import Host
from tests.hosts.conftest import Sshd, free_port, new_key

USER = getpass.getuser()


def refusal(host: Host, timeout: float = 60.0) -> str:
    """The text of the error, hint included."""
    with pytest.raises(UnreachableError) as caught:
        Connection(host, connect_timeout=timeout).open()
    assert caught.value.hint
    return str(caught.value)


def works(host: Host) -> bool:
    """Whether a command runs there."""
    with Connection(host) as connection:
        return connection.look([Command("x", "echo ok", become=False)])["x"].stdout == b"ok\n"


class TestTheWayThere:
    def test_a_name_that_does_not_exist(self, sshd: Sshd) -> None:
        text = refusal(sshd.host(address="no-such-host.invalid"))
        assert "node-1 (no-such-host.invalid): the name 'no-such-host.invalid'" in text
        assert "ansible_host" in text

    def test_a_closed_port(self, sshd: Sshd) -> None:
        port = free_port()
        assert f"127.0.0.1:{port} refuses connections" in refusal(sshd.host(port=port))

    def test_a_host_that_does_not_answer(self, sshd: Sshd) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port: int = full.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            for one in waiting:  # The queue is full: further greetings are dropped.
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            text = refusal(sshd.host(port=port), timeout=0.3)
            for one in waiting:
                one.close()
        assert "does not answer within 0.3 s" in text

    def test_a_host_that_accepts_and_hangs(self, sshd: Sshd) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            text = refusal(sshd.host(port=silent.getsockname()[1]), timeout=0.3)
        assert "does not speak SSH within 0.3 s" in text

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    def test_a_port_where_something_else_listens(self, sshd: Sshd, answer: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:

            def serve() -> None:
                client, _ = other.accept()
                client.recv(4)
                client.sendall(answer)
                client.close()

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            text = refusal(sshd.host(port=other.getsockname()[1]))
            thread.join()
        assert "does not speak SSH" in text or "Connection reset" in text


class TestHostKeys:
    def test_unknown(self, sshd: Sshd, tmp_path: Path) -> None:
        known = tmp_path / "known_hosts"
        text = refusal(sshd.host(known_hosts=str(known)))
        assert "the host key is unknown" in text
        fingerprint = subprocess.run(
            ["ssh-keygen", "-lf", str(sshd.folder / "host_key.pub")], capture_output=True, text=True
        ).stdout.split()[1]
        assert fingerprint in text
        assert f"ssh-keyscan -p {sshd.port} 127.0.0.1 >> {known}" in text

    def test_changed(self, sshd: Sshd, tmp_path: Path) -> None:
        new_key(tmp_path / "other")
        known = tmp_path / "known_hosts"
        name = f"[127.0.0.1]:{sshd.port}"
        known.write_text(f"{name} {(tmp_path / 'other.pub').read_text()}")
        text = refusal(sshd.host(known_hosts=str(known)))
        assert "the host key has changed" in text
        assert f"ssh-keygen -f {known} -R '{name}'" in text

    def test_one_of_several_known_keys_is_enough(self, sshd: Sshd, tmp_path: Path) -> None:
        new_key(tmp_path / "other")
        known = tmp_path / "known_hosts"
        keys = [tmp_path / "other.pub", sshd.folder / "host_key.pub"]
        name = f"[127.0.0.1]:{sshd.port}"
        known.write_text("".join(f"{name} {key.read_text()}" for key in keys))
        assert works(sshd.host(known_hosts=str(known)))

    def test_revoked(self, sshd: Sshd, tmp_path: Path) -> None:
        known = tmp_path / "known_hosts"
        public = (sshd.folder / "host_key.pub").read_text()
        name = f"[127.0.0.1]:{sshd.port}"
        known.write_text(f"{name} {public}@revoked * {public}")
        assert "marked as revoked" in refusal(sshd.host(known_hosts=str(known)))

    def test_the_users_own_known_hosts_file_is_the_default(
        self, sshd: Sshd, own_home: Path
    ) -> None:
        known = sshd.known_hosts(sshd.port).read_text()
        (own_home / ".ssh/known_hosts").write_text(known)
        assert works(sshd.host(known_hosts=None))


class TestKeys:
    def test_refused_with_user_and_keys_tried(self, sshd: Sshd, tmp_path: Path) -> None:
        new_key(tmp_path / "other")
        text = refusal(sshd.host(key_file=str(tmp_path / "other")))
        assert f"login as '{USER}' refused; keys tried: {tmp_path}/other" in text

    def test_a_key_file_that_is_not_there(self, sshd: Sshd, tmp_path: Path) -> None:
        assert f"{tmp_path}/none (no such file)" in refusal(
            sshd.host(key_file=str(tmp_path / "none"))
        )

    def test_a_key_file_that_is_none(self, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("hello\n")
        assert "not a private key" in refusal(sshd.host(key_file=str(tmp_path / "text")))

    def test_a_key_with_a_passphrase(self, sshd: Sshd, tmp_path: Path) -> None:
        key = tmp_path / "locked"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True
        )
        text = refusal(sshd.host(key_file=str(key)))
        assert "locked (has a passphrase)" in text
        assert "ssh-agent" in text

    def test_no_key_at_all(self, sshd: Sshd) -> None:
        assert "keys tried: none" in refusal(sshd.host(key_file=None))

    def test_the_usual_files_are_tried_when_none_is_named(self, sshd: Sshd, own_home: Path) -> None:
        (own_home / ".ssh/id_ed25519").write_bytes((sshd.folder / "key").read_bytes())
        assert works(sshd.host(key_file=None))

    @pytest.fixture
    def agent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A running ssh-agent with no key."""
        path = tmp_path / "agent"
        with subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
            yield path
            process.terminate()

    def test_the_agent_may_hold_the_key(self, sshd: Sshd, agent: Path) -> None:
        assert agent.exists()
        subprocess.run(["ssh-add", "-q", str(sshd.folder / "key")], check=True)
        assert works(sshd.host(key_file=None))

    def test_the_agent_unlocks_a_named_key_with_a_passphrase(
        self, sshd: Sshd, agent: Path, tmp_path: Path
    ) -> None:
        assert agent.exists()
        key = Path(sshd.extra_key("locked", ""))
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(key)], check=True)
        assert works(sshd.host(key_file=str(key)))


class TestSshConfig:
    def config(self, home: Path, text: str) -> None:
        """Writes the user's ssh_config."""
        (home / ".ssh/config").write_text(text)

    def bare(self, address: str) -> Host:
        """A host of which the inventory says nothing but the name."""
        return Host(name=address, address=address, origin=Origin("hosts.yaml"))

    def test_an_alias_says_all_there_is_to_know(self, sshd: Sshd, own_home: Path) -> None:
        self.config(
            own_home,
            f"Host gpu-*\n HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n"
            f" IdentityFile {sshd.folder}/key\n"
            f" UserKnownHostsFile {sshd.known_hosts(sshd.port)}\n",
        )
        assert works(self.bare("gpu-1"))

    def test_a_host_key_alias_is_looked_up_instead(self, sshd: Sshd, own_home: Path) -> None:
        public = (sshd.folder / "host_key.pub").read_text()
        (own_home / ".ssh/known_hosts").write_text(f"node-1.example {public}")
        self.config(own_home, "Host 127.0.0.1\n HostKeyAlias node-1.example\n")
        assert works(sshd.host(known_hosts=None))


class TestJumpHosts:
    @pytest.fixture
    def jump(self, sshd: Sshd, own_home: Path) -> str:
        """The same server as a jump host, known to ssh_config by an alias."""
        (own_home / ".ssh/config").write_text(
            f"Host bastion\n HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n"
            f" IdentityFile {sshd.folder}/key\n"
        )
        known = sshd.known_hosts(sshd.port).read_text()
        (own_home / ".ssh/known_hosts").write_text(known)
        return "bastion"

    def test_through_one_and_through_two(self, sshd: Sshd, jump: str) -> None:
        assert works(sshd.host(proxy_jump=jump))
        assert works(sshd.host(proxy_jump=f"{jump}, {jump}"))

    def test_none_means_none(self, sshd: Sshd) -> None:
        assert works(sshd.host(proxy_jump="none"))

    def test_a_jump_host_with_an_unknown_key_is_named(
        self, sshd: Sshd, jump: str, own_home: Path
    ) -> None:
        (own_home / ".ssh/known_hosts").unlink()
        text = refusal(sshd.host(proxy_jump=jump))
        assert text.startswith("bastion (127.0.0.1) (jump host of node-1): the host key is unknown")

    def test_a_target_the_jump_host_cannot_reach(self, sshd: Sshd, jump: str) -> None:
        text = refusal(sshd.host(proxy_jump=jump, port=free_port()))
        assert "the jump host bastion does not get through" in text


class TestSilence:
    """Only a host that does not answer may be taken for one that is down."""

    def kind(self, host: Host, timeout: float = 0.3) -> type[UnreachableError]:
        with pytest.raises(UnreachableError) as caught:
            Connection(host, connect_timeout=timeout).open()
        return type(caught.value)

    def test_a_closed_port_and_one_that_says_nothing_are_silent(self, sshd: Sshd) -> None:
        assert self.kind(sshd.host(port=free_port())) is SilentError
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for timeout in (0.3, 1.0):
                assert self.kind(sshd.host(port=silent.getsockname()[1]), timeout) is SilentError

    def test_a_refusal_an_unknown_key_and_a_wrong_name_are_answers(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        new_key(tmp_path / "other")
        for host in (
            sshd.host(key_file=str(tmp_path / "other")),
            sshd.host(known_hosts=str(tmp_path / "none")),
            sshd.host(address="no-such-host.invalid"),
        ):
            assert self.kind(host) is UnreachableError

    def test_of_a_host_behind_a_jump_host_that_is_down_nothing_is_known(
        self, sshd: Sshd, own_home: Path
    ) -> None:
        (own_home / ".ssh/config").write_text(
            f"Host bastion\n HostName 127.0.0.1\n Port {free_port()}\n"
        )
        assert self.kind(sshd.host(proxy_jump="bastion")) is UnreachableError


def test_no_sockets_are_left_open_after_a_refusal(sshd: Sshd, tmp_path: Path) -> None:
    host = sshd.host(known_hosts=str(tmp_path / "none"))
    refusal(host)
    before = {thread.ident for thread in threading.enumerate()}
    count = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        refusal(host)
    for thread in threading.enumerate():
        if thread.ident not in before:
            thread.join(60)
    assert len(list(Path("/proc/self/fd").iterdir())) <= count
