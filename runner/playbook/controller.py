"""What lookups read on the controller: files beside the playbook and the output of commands."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.playbook.limits import MAX_TEXT

COMMAND_SECONDS = 60.0
MAX_OUTPUT = 1_000_000
"""Bytes a command may write."""


class Failed(Exception):
    """A lookup found nothing, or could not look."""


class _Outcome:
    """What one call gave; whoever asks first makes the call, the others wait for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: Any = None
        self.error: Failed | None = None
        self.known = False


_outcomes: dict[tuple[Any, ...], _Outcome] = {}
_lock = threading.Lock()


def once(key: tuple[Any, ...], look: Callable[[], Any]) -> Any:
    """What `look` gave when it was first called for this key in this run, or its `Failed`."""
    with _lock:
        outcome = _outcomes.setdefault(key, _Outcome())
    with outcome.lock:
        if not outcome.known:
            try:
                outcome.value = look()
            except Failed as error:
                outcome.error = error
            outcome.known = True
    if outcome.error:
        raise outcome.error
    return outcome.value


def forget() -> None:
    """A run begins: look again at everything."""
    with _lock:
        _outcomes.clear()


def find_file(places: Sequence[Path], name: str) -> Path | None:
    """A file by its absolute path, or in the first of the folders that has it."""

    def look() -> Path | None:
        for place in places:
            try:
                if (place / name).is_file():
                    return place / name
            except (OSError, ValueError):
                break
        return None

    found: Path | None = once(("find", tuple(places), name), look)
    return found


def read_file(places: Sequence[Path], name: str) -> str:
    """The text of such a file.

    Raises:
        Failed: it is not there, not readable, too large or not UTF-8.
    """

    def look() -> str:
        path = find_file(places, name)
        if path is None:
            *most, last = map(str, places)
            raise Failed(f"the file {name!r} is not there; looked in {', '.join(most)} and {last}")
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAX_TEXT + 1)
        except OSError as error:
            raise Failed(f"{path} cannot be read: {error.strerror}") from None
        if len(raw) > MAX_TEXT:
            raise Failed(f"{path} is larger than {MAX_TEXT // 1_000_000} MB")
        return _decoded(raw, str(path))

    text: str = once(("file", tuple(places), name), look)
    return text


def command_output(command: str, folder: Path) -> str:
    """What a shell command prints. It runs in the playbook's folder, without input.

    Raises:
        Failed: with its exit code and what it wrote to stderr; it took longer than 60 seconds, or
            printed more than 1 MB.
    """
    text: str = once(("pipe", str(folder), command), lambda: _run(command, folder))
    return text


def _run(command: str, folder: Path) -> str:
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Failed(f"`{_short(command)}` cannot be started: {error}") from None
    try:
        out, err = _read(process, command)
    finally:
        _end(process)
    if process.returncode != 0:
        said = err.decode("utf-8", "replace").strip()
        raise Failed(
            f"`{_short(command)}` ended with exit code {process.returncode}: {_short(said, 500)}"
        )
    return _decoded(out, f"the output of `{_short(command)}`")


def _read(process: subprocess.Popen[bytes], command: str) -> tuple[bytes, bytes]:
    until = time.monotonic() + COMMAND_SECONDS
    found: dict[Any, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in found:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise Failed(f"`{_short(command)}` takes longer than {COMMAND_SECONDS:g} seconds")
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                found[key.fileobj] += piece
                if not piece:
                    selector.unregister(key.fileobj)
                if len(found[key.fileobj]) > MAX_OUTPUT:
                    raise Failed(f"`{_short(command)}` prints more than {MAX_OUTPUT} bytes")
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Failed(f"`{_short(command)}` takes longer than {COMMAND_SECONDS:g} seconds") from None
    return bytes(found[process.stdout]), bytes(found[process.stderr])


def _end(process: subprocess.Popen[bytes]) -> None:
    """A command that still runs is killed, with what it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def _decoded(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Failed(f"{what} is not UTF-8 text") from None


def _short(text: str, size: int = 120) -> str:
    """A text in a message: its control characters cannot act on a terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return shown if len(shown) <= size else shown[: size - 3] + "..."
