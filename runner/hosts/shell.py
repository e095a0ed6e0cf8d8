"""A remote `sh` kept on one channel: batches go in on standard input, frames come out.

One kept shell per privilege saves two round trips and a login shell's start for every batch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import paramiko

from runner.errors import GpurunError
from runner.hosts.frames import Batch, Frame, FrameError, FrameReader, new_word, prelude

MARGIN = 30.0
"""Seconds granted on top of what the steps of a batch may take, before the host counts as lost."""

_CHUNK = 256 * 1024


class NoShellError(GpurunError):
    """The shell never started or gave up; `said` is what came instead, as the host sent it."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


@dataclass
class BrokenError(Exception):
    """The stream ended or fell silent in the middle of a batch."""

    why: str
    frames: list[Frame] = field(default_factory=list)


class WrongPasswordError(Exception):
    """sudo asked again after it was given the password."""


class RemoteShell:
    """One channel with a `sh` that reads batches.

    Args:
        transport: an authenticated connection.
        become: start it as root through sudo.
        password: for sudo; it travels on standard input only.
        timeout: seconds for the channel to open and sudo to answer.

    Raises:
        paramiko.SSHException: the server opens no channel or refuses to run anything.
    """

    def __init__(
        self,
        transport: paramiko.Transport,
        *,
        become: bool = False,
        password: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        word = new_word()
        self._reader = FrameReader(word)
        self._pending = prelude(word)
        self._channel = transport.open_session(timeout=timeout)
        self._channel.settimeout(timeout)
        # One stream to read: whatever is outside of frames only matters for error messages.
        self._channel.set_combine_stderr(True)
        if not become:
            _start(self._channel, "sh -s")
        elif password is None:
            _start(self._channel, "env LC_ALL=C sudo -n -- sh -s")
        else:
            self._become(password)

    def run(self, batch: Batch) -> list[Frame]:
        """Runs a batch and returns the frames of the steps that ran.

        Raises:
            BrokenError: the connection broke or was silent too long; holds the frames so far.
            NoShellError: the remote shell never started or gave up before the first step.
        """
        self._reader.ended = False
        frames: list[Frame] = []
        deadline = time.monotonic() + batch.seconds + MARGIN
        try:
            self._send(self._pending + batch.text, deadline)
            self._pending = b""
            while not self._reader.ended:
                frames += self._reader.feed(self._receive(deadline))
        except FrameError as error:
            raise NoShellError(str(error)) from error
        except TimeoutError as error:
            raise BrokenError(
                f"no answer for {batch.seconds + MARGIN:.0f} s, longer than all steps may take",
                frames,
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            if not self._reader.ready and self._channel.get_transport().is_active():
                raise NoShellError(self._last_words()) from error
            raise BrokenError(str(error) or "the connection broke", frames) from error
        return frames

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._channel.settimeout(max(deadline - time.monotonic(), 0.001))
            sent = self._channel.send(bytes(view[:_CHUNK]))
            if not sent:
                raise EOFError
            view = view[sent:]

    def _receive(self, deadline: float) -> bytes:
        self._channel.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self._channel.recv(_CHUNK)
        if not data:
            raise EOFError
        return data

    def _last_words(self) -> str:
        """What the host said instead of starting a shell, noise of the login included."""
        said = bytearray(self._reader.rest)
        try:
            while len(said) < 65536 and (data := self._channel.recv(4096)):
                said += data
        except (OSError, EOFError):
            pass
        return said[-4096:].decode("utf-8", "replace").strip()

    def _become(self, password: str) -> None:
        # sudo may want the password or not (NOPASSWD, a recent one): it is sent only when asked
        # for, else the shell would take it for a command. And the shell is given nothing before
        # sudo let it start, else sudo would take the text for further tries.
        ask, greet = new_word(), new_word()
        # The quotes in the middle: sudo repeats the command when it refuses it.
        self._channel.exec_command(
            f"env LC_ALL=C sudo -S -p {ask} -- sh -c 'echo {greet}\"\"-in; exec sh -s'"
        )
        prompt, inside = ask.encode(), f"{greet}-in".encode()
        said = b""
        given = False
        deadline = time.monotonic() + (self._channel.gettimeout() or 10.0) + MARGIN
        while inside not in said:
            try:
                said += self._receive(deadline)
            except EOFError:
                text = said.replace(prompt, b"").decode("utf-8", "replace").strip()
                raise NoShellError(text) from None
            if given and prompt in said:
                self._channel.close()
                raise WrongPasswordError
            if prompt in said:
                self._send(password.encode() + b"\n", deadline)
                said, given = b"", True


def _start(channel: paramiko.Channel, command: str) -> None:
    """Asks for a command as `exec_command` does, but does not wait a round trip for the consent.

    What is sent next reaches the command's standard input, as the server takes requests and data
    of a channel in order (RFC 4254, 6.5). When it refuses, paramiko closes the channel.
    """
    request = paramiko.Message()
    request.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
    request.add_int(channel.remote_chanid)
    request.add_string("exec")
    request.add_boolean(True)
    request.add_string(command)
    # Not in paramiko's documented interface; it waits while keys are renewed.
    channel.get_transport()._send_user_message(request)  # type: ignore[attr-defined]
