"""One batch of steps as text for a remote `sh`, and its framed answer as data.

The text is fed to a shell that reads standard input, so nothing of it shows in arguments (`ps`).
Steps lie as files in a folder only their user can enter; every step runs in a shell of its own.
Frames are told apart by a random word that no step can know, so output may hold
anything: NULs, missing newlines, noise of a login before the first frame.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.hosts.remote import PRELUDE
from runner.hosts.script import Block, Command, Result

OUTPUT_LIMIT = 8 * 1024 * 1024
"""Bytes kept of each stream of a step; the rest is dropped on the host."""

KILL_AFTER = 5.0
"""Seconds between TERM and KILL for a step that ran out of time."""

_PRINTF_LIMIT = 32 * 1024
_PLAIN = re.compile(rb"[\x20-\x7e\t\n]*\Z")


class FrameError(Exception):
    """The remote shell gave up on the batch by itself; the text says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Text for a remote shell that has been told the prelude."""

    text: bytes
    seconds: float
    """The longest the host may take for it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One finished step."""

    index: int
    result: Result


def new_word() -> str:
    """A word that output cannot contain by accident or guess."""
    return "gpurun-" + secrets.token_hex(16)


def prelude(word: str) -> bytes:
    """Text that prepares a fresh remote shell: folder, environment, functions.

    Args:
        word: marks the greeting that tells that the shell is there.
    """
    return PRELUDE.replace("@WORD@", word).encode()


def look_batch(commands: Sequence[Command]) -> Batch:
    """All commands in order; none stops another. Frame n belongs to commands[n]."""
    flow = [_run(index, command) for index, command in enumerate(commands)]
    return _batch(commands, flow)


def change_batch(blocks: Sequence[Block]) -> Batch:
    """Guard, do and reread of every block; the first that drifted or failed is the last.

    Frames are numbered as `steps_of` lists the commands.
    """
    flow: list[str] = []
    index = 0
    for block in blocks:
        guard = _run(index, block.guard) if block.guard else ":"
        index += block.guard is not None
        do = [f"alive && {_run(index + n, command)}" for n, command in enumerate(block.do)]
        index += len(block.do)
        reread = [_run(index + n, command) for n, command in enumerate(block.reread)]
        index += len(block.reread)
        flow += [
            f'if [ "$going" ]; then if {guard}; then',
            " && ".join(do or [":"]) + " || going=",
            *reread,
            "else going=; fi; fi",
        ]
    return _batch(steps_of(blocks), flow)


def steps_of(blocks: Sequence[Block]) -> list[Command]:
    """The commands of blocks in the order in which they would run."""
    steps: list[Command] = []
    for block in blocks:
        steps += [block.guard] if block.guard else []
        steps += [*block.do, *block.reread]
    return steps


def _batch(steps: Sequence[Command], flow: Sequence[str]) -> Batch:
    # Braces: the shell acts only when it has read the last line, so a batch that a broken
    # connection cut short does nothing at all; and all files are written before the first step.
    piped = " ".join(str(index) for index, step in enumerate(steps) if _kind(step) == "run")
    lines: list[str | bytes] = ["{", "going=1", f"start {piped}"]
    for index, step in enumerate(steps):
        lines.append(_write(f"{index}.s", step.shell.encode("utf-8", "surrogateescape")))
        if step.stdin:
            lines.append(_write(f"{index}.i", step.stdin))
    lines += [*flow, "finish", "}", ""]
    text = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    return Batch(text, sum(step.timeout + KILL_AFTER + 3 for step in steps))


def _run(index: int, step: Command) -> str:
    stdin = f'"$folder/{index}.i"' if step.stdin else "/dev/null"
    return f"{_kind(step)} {index} {_seconds(step.timeout)} {stdin}"


def _kind(step: Command) -> str:
    """The function of the prelude that runs a step."""
    if step.shell == ":" and not step.stdin:
        return "nothing"
    return "brief" if step.brief else "run"


def _seconds(timeout: float) -> str:
    # GNU timeout takes 0 for "no limit", which nobody means.
    return f"{max(timeout, 0.001):.3f}".rstrip("0").rstrip(".")


def _write(name: str, body: bytes) -> bytes:
    target = f'"$folder/{name}"'.encode()
    if len(body) <= _PRINTF_LIMIT and _PLAIN.match(body):
        # printf is a builtin (the prelude makes sure): no process, no argument anyone can see.
        return b"printf %s '" + body.replace(b"'", b"'\\''") + b"' >" + target + b" || lost"
    end = new_word().encode()
    start = b"base64 -d >" + target + b" <<'" + end + b"' || lost\n"
    return start + base64.encodebytes(body) + end


class FrameReader:
    """Turns the bytes of a remote shell into frames, however they arrive in pieces.

    Args:
        word: the word that the prelude was given.
    """

    def __init__(self, word: str) -> None:
        self._mark = re.compile(rb"\n" + word.encode() + rb" ([^\n]*)\n")
        self._overlap = len(word) + 4096
        self._buffer = bytearray()
        self._searched = 0
        self._head: list[str] = []
        self._out = b""
        self.ended = False
        self.ready = False

    @property
    def rest(self) -> bytes:
        """The last of what is in no frame: a banner, or why the shell never started."""
        return bytes(self._buffer[-4096:])

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Takes the next bytes; yields the frames they complete.

        Raises:
            FrameError: the remote shell says that it cannot go on, and why.
        """
        self._buffer += data
        while found := self._mark.search(self._buffer, self._searched):
            content = bytes(self._buffer[: found.start()])
            kind, _, rest = found[1].decode("utf-8", "replace").partition(" ")
            del self._buffer[: found.end()]
            self._searched = 0
            if kind == "err":
                yield _frame(self._head, self._out, content)
            self._note(kind, rest, content)
        self._searched = max(0, len(self._buffer) - self._overlap)

    def _note(self, kind: str, rest: str, content: bytes) -> None:
        match kind:
            case "step":
                self._head = rest.split(" ")
            case "out":
                self._out = content
            case "ready":
                self.ready = True
            case "end":
                self.ended = True
            case "lost":
                raise FrameError(rest)


def _frame(head: Sequence[str], out: bytes, err: bytes) -> Frame:
    index, rc, started, ended, over, limit = head
    seconds = round(float(ended) - float(started), 2)
    # 124 and 137 may as well be the command's own; only together with the clock they tell.
    timed_out = int(rc) in (124, 137) and seconds >= float(limit) - 0.05
    return Frame(
        int(index),
        Result(
            rc=int(rc),
            stdout=out[:OUTPUT_LIMIT],
            stderr=err[:OUTPUT_LIMIT],
            seconds=max(seconds, 0.0),
            timed_out=timed_out,
            truncated=over == "1" or max(len(out), len(err)) >= OUTPUT_LIMIT,
        ),
    )
