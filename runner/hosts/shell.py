"""A host's `sh` kept on one stream: batches go in on standard input, frames come out.

One kept shell per user saves two round trips and a login shell's start for every batch.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from typing import Protocol

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


class Stream(Protocol):
    """A command's standard input, and its output and errors as one: a channel of an SSH
    connection, or a pair of sockets on this machine. Raises OSError for whatever is wrong."""

    @property
    def is_connected(self) -> bool: ...
    def start(self, command: str) -> None: ...
    def settimeout(self, seconds: float) -> None: ...
    def send(self, data: bytes) -> int: ...
    def recv(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Shell:
    """One stream with a `sh` that reads batches.

    Args:
        stream: where nothing has been started yet.
        user: start it as this user through sudo; "": as who is logged in.
        password: for sudo; it travels on standard input only.
        timeout: seconds for sudo to answer.

    Raises:
        OSError: nothing can be started.
    """

    def __init__(
        self, stream: Stream, *, user: str = "", password: str | None = None, timeout: float = 10.0
    ) -> None:
        word = new_word()
        self._reader = FrameReader(word)
        self._pending = prelude(word)
        self._stream = stream
        as_user = "" if user == "root" else f" -H -u {shlex.quote(user)}"
        if not user:
            stream.start("sh -s")
        elif password is None:
            stream.start(f"env LC_ALL=C sudo -n{as_user} -- sh -s")
        else:
            self._become(as_user, password, timeout)

    def close(self) -> None:
        """End it; it removes its files."""
        self._stream.close()

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
        except (OSError, EOFError) as error:
            if not self._reader.ready and self._stream.is_connected:
                raise NoShellError(self._last_words()) from error
            raise BrokenError(str(error) or "the connection broke", frames) from error
        return frames

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._stream.settimeout(max(deadline - time.monotonic(), 0.001))
            sent = self._stream.send(bytes(view[:_CHUNK]))
            if not sent:
                raise EOFError
            view = view[sent:]

    def _receive(self, deadline: float) -> bytes:
        self._stream.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self._stream.recv(_CHUNK)
        if not data:
            raise EOFError
        return data

    def _last_words(self) -> str:
        """What the host said instead of starting a shell, noise of the login included."""
        said = bytearray(self._reader.rest)
        try:
            while len(said) < 65536 and (data := self._stream.recv(4096)):
                said += data
        except (OSError, EOFError):
            pass
        return said[-4096:].decode("utf-8", "replace").strip()

    def _become(self, as_user: str, password: str, timeout: float) -> None:
        # sudo may want the password or not (NOPASSWD, a recent one): it is sent only when asked
        # for, else the shell would take it for a command. And the shell is given nothing before
        # sudo let it start, else sudo would take the text for further tries.
        ask, greet = new_word(), new_word()
        # The quotes in the middle: sudo repeats the command when it refuses it.
        self._stream.start(
            f"env LC_ALL=C sudo -S{as_user} -p {ask} -- sh -c 'echo {greet}\"\"-in; exec sh -s'"
        )
        prompt, inside = ask.encode(), f"{greet}-in".encode()
        said = b""
        given = False
        deadline = time.monotonic() + timeout + MARGIN
        while inside not in said:
            try:
                said += self._receive(deadline)
            except EOFError:
                text = said.replace(prompt, b"").decode("utf-8", "replace").strip()
                raise NoShellError(text) from None
            if given and prompt in said:
                self._stream.close()
                raise WrongPasswordError
            if prompt in said:
                self._send(password.encode() + b"\n", deadline)
                said, given = b"", True
