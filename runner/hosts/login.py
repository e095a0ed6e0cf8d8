"""From an inventory host to an authenticated SSH connection; every refusal in plain words.

fabric resolves ssh_config, users, ports and jump hosts. Host keys (fabric accepts any), the order
of keys, and the socket (paramiko leaves Nagle's algorithm on, 40 ms per exchange) are done here.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import fabric
import paramiko
from paramiko.auth_strategy import AuthFailure, AuthSource, AuthStrategy, InMemoryPrivateKey

from runner.errors import UnreachableError
from runner.hosts.display import printable
from runner.hosts.errors import SilentError
from runner.hosts.known_hosts import KnownKey, keys_for, known_name
from runner.inventory.model import Host

# paramiko logs what it also raises; without a handler Python would print it to the terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_JUMP_LOGINS = threading.BoundedSemaphore(8)
"""sshd drops logins beyond MaxStartups (10 at once by default), and hosts share a jump host."""

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_SYSTEM_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))


def log_in(host: Host, timeout: float) -> fabric.Connection:
    """Connects and authenticates, through jump hosts where there are any.

    Args:
        host: connection settings; what is None comes from ssh_config.
        timeout: seconds for each step of the way: connect, banner, key exchange, each key.

    Raises:
        UnreachableError: says which of the hosts on the way refused, why, and what to do.
    """
    target = _resolve(host)
    try:
        for jump in _jumps(target):
            with _JUMP_LOGINS:
                _Hop(jump, None, timeout, f" (jump host of {host.name})").open()
        _Hop(target, host, timeout, "").open()
    except BaseException:
        log_out(target)
        raise
    return target


def log_out(connection: fabric.Connection) -> None:
    """Closes a connection and the jump hosts below it."""
    for hop in [connection, *reversed(_jumps(connection))]:
        hop.client.close()


def _resolve(host: Host) -> fabric.Connection:
    config = fabric.Config(ssh_config=_ssh_config(*_ssh_config_state()), lazy=True)
    gateway: Any = None
    if host.proxy_jump == "none":
        gateway = False
    elif host.proxy_jump:
        for jump in host.proxy_jump.split(","):
            gateway = fabric.Connection(jump.strip(), config=config, gateway=gateway)
    return fabric.Connection(
        host.address, user=host.user, port=host.port, config=config, gateway=gateway
    )


def _jumps(connection: fabric.Connection) -> list[fabric.Connection]:
    """Jump hosts, the first to be connected first. A ProxyCommand is none."""
    hops: list[fabric.Connection] = []
    while isinstance(connection.gateway, fabric.Connection):
        connection = connection.gateway
        hops.insert(0, connection)
    return hops


def _ssh_config_state() -> tuple[tuple[Path, int], ...]:
    files = (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config"))
    return tuple((file, file.stat().st_mtime_ns) for file in files if file.is_file())


@lru_cache(maxsize=8)
def _ssh_config(*files: tuple[Path, int]) -> paramiko.SSHConfig:
    # Read once for all hosts; the times of change in the key make an edited file a new entry.
    config = paramiko.SSHConfig()
    for file, _ in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            config.parse(lines)
    return config


class _Hop:
    """One SSH connection on the way, and how to speak about it."""

    def __init__(
        self, connection: fabric.Connection, host: Host | None, timeout: float, remark: str
    ) -> None:
        self.connection = connection
        self.timeout = timeout
        self.port = int(connection.port)
        name = host.name if host else str(connection.original_host)
        self.name = name if name == connection.host else f"{name} ({connection.host})"
        self.name += remark
        self.is_jump = host is None
        self.keys = _Keys(connection, host.key_file if host else None)
        alias = connection.ssh_config.get("hostkeyalias")
        self.known_name = alias or known_name(connection.host, self.port)
        self.files = _known_hosts_files(connection, host)

    def open(self) -> None:
        """Connects; the error says what this hop refused.

        Raises:
            UnreachableError: see `log_in`.
        """
        connection = self.connection
        known = keys_for(self.known_name, self.files)
        connection.client.set_missing_host_key_policy(_Strict(self, known))
        connection.connect_timeout = math.ceil(self.timeout)
        connection.connect_kwargs = {
            "banner_timeout": self.timeout,
            "auth_timeout": self.timeout,
            "channel_timeout": self.timeout,
            "auth_strategy": self.keys,
            "transport_factory": _transport_factory(known),
        }
        sock = None
        try:
            if not connection.gateway:
                sock = _tcp(connection.host, self.port, self.timeout)
                connection.connect_kwargs["sock"] = sock
            connection.open()
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._refusal(error) from error
        finally:
            if not connection.is_connected:
                connection.client.close()
                if sock:
                    sock.close()

    def _refusal(self, error: Exception) -> UnreachableError:
        address = f"{self.connection.host}:{self.port}"
        match error:
            case socket.gaierror():
                text = f"the name '{self.connection.host}' is not found: {error.strerror}"
                hint = "Check ansible_host in the inventory, HostName in ssh_config, and DNS."
            case ConnectionRefusedError():
                text = f"{address} refuses connections"
                hint = "Is sshd running there, and is ansible_port right?"
            case TimeoutError():
                text = f"{address} does not answer within {self.timeout:g} s"
                hint = "Is the host up, and does a firewall let this machine through?"
            case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
                text = f"{address}: {str(error.strerror).lower()}"
                hint = "Is the host up, and is ansible_host its address?"
            case AuthFailure():
                return self._refused_keys(error)
            case paramiko.ChannelException():
                jump = self.connection.gateway.original_host
                text = f"the jump host {jump} does not get through to {address}: {error.text}"
                hint = f"Try: ssh {jump} nc -vz {self.connection.host} {self.port}"
            case _ if _spoke_no_ssh(error):
                text = (
                    f"{address} accepts the connection but does not speak SSH "
                    f"within {self.timeout:g} s, or hung up at once"
                )
                hint = (
                    "The host may hang, sshd's MaxStartups may be full, or another service listens."
                )
            case _:
                text = f"{address}: {str(error) or type(error).__name__}"
                hint = f"Try: ssh -v -p {self.port} {self.connection.user}@{self.connection.host}"
        kind = SilentError if self._is_silent(error) else UnreachableError
        return kind(f"{self.name}: {printable(text)}", hint)

    def _is_silent(self, error: Exception) -> bool:
        """Whether the host itself does not answer, as far as can be seen from here."""
        if self.is_jump:
            return False  # of the host behind it nothing is known
        if isinstance(error, OSError) and error.errno == errno.EHOSTUNREACH:
            return True
        silence = (ConnectionRefusedError, TimeoutError, paramiko.ChannelException)
        return isinstance(error, silence) or _spoke_no_ssh(error)

    def _refused_keys(self, error: AuthFailure) -> UnreachableError:
        user = self.connection.user
        tried = "; ".join(self.keys.tried) or "none: no key file and no agent has one"
        others = [
            str(tries.result)
            for tries in error.result
            if type(tries.result) is not paramiko.AuthenticationException
        ]
        why = f" ({printable(others[-1])})" if others else ""
        return UnreachableError(
            f"{self.name}: login as '{user}' refused{why}; keys tried: {tried}",
            f"Add the public key to ~{user}/.ssh/authorized_keys there, or set "
            "ansible_user and ansible_ssh_private_key_file; a passphrase needs ssh-agent.",
        )


def _spoke_no_ssh(error: Exception) -> bool:
    """No greeting came. paramiko says "No existing session" where its two deadlines meet."""
    said = str(error)
    return isinstance(error, EOFError) or "banner" in said or "No existing session" in said


class _PromptSocket(socket.socket):
    """Acknowledges at once what it received.

    sshd leaves Nagle's algorithm on until a session starts, and then holds its consent back until
    the message before it is acknowledged, which Linux delays by 40 ms (tcp(7), TCP_QUICKACK).
    """

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        if hasattr(socket, "TCP_QUICKACK"):
            # Not permanent, so it is set anew each time.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _tcp(host: str, port: int, timeout: float) -> socket.socket:
    plain = socket.create_connection((host, port), timeout)
    sock = _PromptSocket(plain.family, plain.type, plain.proto, plain.detach())
    sock.settimeout(timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A host that loses power says nothing more: the kernel notices within a minute.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Keep-alives are not sent while data waits for an answer: then the user timeout (ms) counts.
    options = {
        "TCP_KEEPIDLE": 15,
        "TCP_KEEPINTVL": 10,
        "TCP_KEEPCNT": 4,
        "TCP_USER_TIMEOUT": 60_000,
    }
    for option, value in options.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return sock


def _transport_factory(known: list[KnownKey]) -> Callable[..., paramiko.Transport]:
    """Asks the server for a kind of host key that is known, as ssh does."""
    kinds = {name for key in known for name in _algorithms(key.kind)}

    def build(sock: Any, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        security.key_types = sorted(security.key_types, key=lambda kind: kind not in kinds)
        return transport

    return build


def _algorithms(kind: str) -> tuple[str, ...]:
    return ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)


def _known_hosts_files(connection: fabric.Connection, host: Host | None) -> list[Path]:
    named = host.known_hosts if host else None
    user = named or connection.ssh_config.get("userknownhostsfile") or "~/.ssh/known_hosts"
    system = connection.ssh_config.get("globalknownhostsfile")
    files = [user] if named else user.split()
    rest = map(Path, system.split()) if system else _SYSTEM_KNOWN_HOSTS
    return [*(Path(file).expanduser() for file in files), *rest]


class _Strict(paramiko.MissingHostKeyPolicy):
    """Lets a host in only with a key of the known_hosts files. The client itself knows none."""

    def __init__(self, hop: _Hop, known: list[KnownKey]) -> None:
        self.hop = hop
        self.known = known

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        hop = self.hop
        same = [known for known in self.known if known.key == key.asbytes()]
        shown = f"{key.get_name()} {key.fingerprint}"
        if any(known.revoked for known in same):
            raise UnreachableError(
                f"{hop.name}: its host key {shown} is marked as revoked in {hop.files[0]}",
                "Find out why before you trust this host again.",
            )
        if same:
            return
        files = ", ".join(str(file) for file in hop.files[:1])
        scan = f"ssh-keyscan -p {hop.port} {hop.connection.host} >> {files}"
        if self.known:
            raise UnreachableError(
                f"{hop.name}: the host key has changed: it shows {shown}, "
                f"which is not the key of '{hop.known_name}' in {files}",
                "Somebody may be listening in, or the host was set up anew. If it was: "
                f"ssh-keygen -f {files} -R '{hop.known_name}' && {scan}",
            )
        raise UnreachableError(
            f"{hop.name}: the host key is unknown: {files} has none of '{hop.known_name}'; "
            f"it shows {shown}",
            f"Compare the fingerprint with the host's own, then: {scan}",
        )


class _Keys(AuthStrategy):
    """Keys in the order in which they probably work: each wrong one costs a round trip.

    The inventory's key file, then ssh_config's IdentityFile, then the agent, then the usual files
    in ~/.ssh. An explicit key file, or IdentitiesOnly, keeps the others out, except that the agent
    may hold the same key unlocked.
    """

    def __init__(self, connection: fabric.Connection, key_file: str | None) -> None:
        super().__init__(ssh_config=connection.ssh_config)
        self.user = connection.user
        self.tried: list[str] = []
        identities = connection.ssh_config.get("identityfile", [])
        self.files = [Path(file).expanduser() for file in ([key_file] if key_file else identities)]
        only = connection.ssh_config.get("identitiesonly") == "yes"
        self.only_files = bool(key_file) or (only and bool(self.files))

    def get_sources(self) -> Iterator[AuthSource]:
        agent = paramiko.Agent()
        try:
            held = {key.asbytes(): key for key in agent.get_keys()}
            for file in self.files:
                yield from self._from_file(file, held)
            if self.only_files:
                return
            for key in list(held.values()):
                yield self._source(f"agent key {key.fingerprint}", key)
            if not self.files:
                for name in _DEFAULT_KEYS:
                    file = Path("~/.ssh").expanduser() / name
                    if file.is_file():
                        yield from self._from_file(file, held)
        finally:
            agent.close()

    def _from_file(self, file: Path, held: dict[bytes, Any]) -> Iterator[AuthSource]:
        try:
            yield self._source(str(file), paramiko.PKey.from_path(file))
            return
        except FileNotFoundError:
            self.tried.append(f"{file} (no such file)")
        except PermissionError:
            self.tried.append(f"{file} (not readable)")
        except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
            public = _public_part(file)
            if public in held:
                yield self._source(f"{file} (by the agent)", held.pop(public))
                return
            locked = isinstance(error, TypeError | paramiko.PasswordRequiredException)
            why = "has a passphrase" if locked else "not a private key that can be read"
            self.tried.append(f"{file} ({why})")

    def _source(self, name: str, key: paramiko.PKey) -> AuthSource:
        self.tried.append(name)
        return InMemoryPrivateKey(self.user, key)


def _public_part(file: Path) -> bytes | None:
    import base64

    try:
        return base64.b64decode(Path(f"{file}.pub").read_text("utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return None
