"""Where the shells of a host run: behind an SSH connection, or on this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Protocol

from runner.hosts.shell import Stream

if TYPE_CHECKING:
    import fabric
    import paramiko

    from runner.inventory.model import Host

_LAST_STEPS = 5.0
"""Seconds that a shell here gets to remove its files before it is killed."""


class Login(Protocol):
    """Somebody who is logged in and can start commands. `user` is who."""

    user: str

    def stream(self, timeout: float) -> Stream: ...
    def close(self) -> None: ...


def log_in(host: Host, timeout: float) -> Login:
    """A login at the host.

    Raises:
        UnreachableError: in plain words why not, and what to try.
    """
    if host.is_local:
        return LocalLogin()
    from runner.hosts.login import log_in as over_ssh

    return SshLogin(over_ssh(host, timeout))


class SshLogin:
    """An SSH connection."""

    def __init__(self, connection: fabric.Connection) -> None:
        self._connection = connection
        self.user = str(connection.user)

    def stream(self, timeout: float) -> Stream:
        """A new channel. Raises OSError."""
        import paramiko

        try:
            channel = self._connection.transport.open_session(timeout=timeout)
        except (EOFError, paramiko.SSHException) as error:
            raise OSError(str(error)) from error
        channel.settimeout(timeout)
        # One stream to read: whatever is outside of frames only matters for error messages.
        channel.set_combine_stderr(True)
        return _Channel(channel)

    def close(self) -> None:
        from runner.hosts.login import log_out

        log_out(self._connection)


class _Channel:
    """A channel of an SSH connection as a `Stream`."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self.settimeout = channel.settimeout
        self.send = channel.send
        self.recv = channel.recv
        self.close = channel.close

    @property
    def is_connected(self) -> bool:
        return self._channel.get_transport().is_active()

    def start(self, command: str) -> None:
        """Asks for a command as `exec_command` does, but does not wait a round trip for the
        consent.

        What is sent next reaches the command's standard input, as the server takes requests and
        data of a channel in order (RFC 4254, 6.5). When it refuses, paramiko closes the channel.
        """
        import paramiko

        request = paramiko.Message()
        request.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
        request.add_int(self._channel.remote_chanid)
        request.add_string("exec")
        request.add_boolean(True)
        request.add_string(command)
        # Not in paramiko's documented interface; it waits while keys are renewed.
        transport = self._channel.get_transport()
        try:
            transport._send_user_message(request)  # type: ignore[attr-defined]
        except (EOFError, paramiko.SSHException) as error:
            raise OSError(str(error)) from error


class LocalLogin:
    """Who runs gpurun, on this machine."""

    def __init__(self) -> None:
        self.user = pwd.getpwuid(os.geteuid()).pw_name

    def stream(self, timeout: float) -> Stream:
        return _Sockets(timeout)

    def close(self) -> None: ...


class _Sockets:
    """A command of this machine as a `Stream`.

    It leads a session of its own: Ctrl-C in the terminal ends no step in its middle, as on hosts
    behind SSH. When gpurun ends, its input ends, and then so does it.
    """

    is_connected = True

    def __init__(self, timeout: float) -> None:
        self._ours, self._its = socket.socketpair()
        self._ours.settimeout(timeout)
        self._process: subprocess.Popen[bytes] | None = None
        self.settimeout = self._ours.settimeout
        self.send = self._ours.send
        self.recv = self._ours.recv

    def start(self, command: str) -> None:
        with self._its:
            its = self._its.fileno()
            self._process = subprocess.Popen(
                ["sh", "-c", command], stdin=its, stdout=its, stderr=its, start_new_session=True
            )

    def close(self) -> None:
        self._ours.close()
        process = self._process
        if process is None:
            return
        try:
            process.wait(_LAST_STEPS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):  # what sudo started is not ours to end
                os.killpg(process.pid, signal.SIGTERM)
