"""Inventories that a program prints: Ansible's protocol, with bounds on time and output."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runner.errors import Origin
from runner.inventory.listing import add_listing
from runner.inventory.tree import Tree
from runner.playbook.fields import kind_of
from runner.playbook.source import MAX_DEPTH, is_deep

SECONDS = 60.0
"""All calls of one program together; it is killed after this time."""
GRACE = 1.0
"""Seconds for what a program left running to close its output."""
MAX_BYTES = 50_000_000
"""What a program may print."""


@dataclass(slots=True)
class _Output:
    stdout: bytearray
    stderr: bytearray
    code: int = 0
    failure: str = ""
    """Why it was stopped."""


def is_program(path: Path) -> bool:
    """Whether an executable file really is a program: a script with #!, or binary.

    The mode alone says little: on some file systems every file is executable.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
    except OSError:
        return True
    return start.startswith(b"#!") or b"\0" in start


def read_program(tree: Tree, path: Path) -> None:
    """Add what a program prints for --list (Ansible's protocol; `_meta`, else --host for each)."""
    where = Origin(str(path))
    deadline = time.monotonic() + SECONDS

    def ask(host: str) -> dict[str, Any] | None:
        return _object(tree, path, ("--host", host), deadline)

    data = _object(tree, path, ("--list",), deadline)
    if data is not None:
        add_listing(tree, data, where, ask)


def _object(
    tree: Tree, path: Path, arguments: tuple[str, ...], deadline: float
) -> dict[str, Any] | None:
    """The JSON object the program prints; None and a problem where there is none."""
    output = _run(path, arguments, deadline)
    failure = output.failure
    data: Any = {}
    if not failure and output.code:
        failure = f"{_ended(output.code)}{_last_line(output.stderr)}"
    elif not failure and output.stdout.strip():
        data, failure = _parsed(output.stdout)
    elif not failure and arguments[0] == "--list":
        failure = f"printed nothing{_last_line(output.stderr)}"
    if failure:
        by_hand = f"Try it by hand: {path} {' '.join(arguments)}"
        tree.note(f"{path.name} {' '.join(arguments)} {failure}", Origin(str(path)), by_hand)
        return None
    return data  # type: ignore[no-any-return]


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _parsed(printed: bytearray) -> tuple[Any, str]:
    """The object, or why there is none."""
    try:
        data = json.loads(printed)
        deep = is_deep(data)
    except RecursionError:
        deep = True
    except UnicodeDecodeError as error:
        return None, f"printed no JSON: byte 0x{error.object[error.start]:02x} is not UTF-8 text"
    except ValueError as error:
        return None, f"printed no JSON: {error}"
    if deep:
        return None, f"printed JSON that is nested more than {MAX_DEPTH} levels deep"
    if not isinstance(data, dict):
        return None, f"printed {kind_of(data)}, an object is expected"
    return data, ""


def _last_line(stderr: bytearray) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:500]}" if lines else ""


def _run(path: Path, arguments: tuple[str, ...], deadline: float) -> _Output:
    """Run a program in a session of its own; nothing of it is left running."""
    output = _Output(bytearray(), bytearray())
    try:
        process = subprocess.Popen(
            [os.fspath(path.resolve()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=path.resolve().parent,
            start_new_session=True,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        output.failure = f"cannot be run: {reason} (check its first line, #!, and its mode)"
        return output
    try:
        output.failure = _collect(process, output, deadline)
    finally:
        # Not waited for yet, so the process group cannot be another's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        output.code = process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
    return output


def _collect(process: subprocess.Popen[bytes], output: _Output, deadline: float) -> str:
    """Read until the program is done; why it must be stopped, if it must."""
    patience = SECONDS
    with selectors.DefaultSelector() as selector:
        streams: list[tuple[IO[bytes] | None, bytearray]] = [
            (process.stdout, output.stdout),
            (process.stderr, output.stderr),
        ]
        for stream, into in streams:
            if stream:
                selector.register(stream, selectors.EVENT_READ, into)
        ended = 0.0
        while selector.get_map():
            now = time.monotonic()
            if not ended and _has_ended(process):
                ended = now
            if ended and now > ended + GRACE:
                return ""  # a child of it keeps the output open; what it printed counts
            if now > deadline:
                return f"did not end within {patience:.0f} s"
            if _read(selector):
                return f"printed more than {MAX_BYTES // 1_000_000} MB"
    while not _has_ended(process):
        if time.monotonic() > deadline:
            return f"did not end within {patience:.0f} s"
        time.sleep(0.01)
    return ""


def _read(selector: selectors.BaseSelector) -> bool:
    """Read what is there; whether that is too much."""
    for key, _ in selector.select(0.05):
        piece = os.read(key.fd, 1 << 16)
        if not piece:
            selector.unregister(key.fileobj)
        key.data.extend(piece)
        if len(key.data) > MAX_BYTES:
            return True
    return False


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the program has ended, without letting go of its process id."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None
