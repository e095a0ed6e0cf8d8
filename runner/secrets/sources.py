"""Where secrets are read from: environment, files, commands, sops. No message holds a value."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.secrets.redact import KNOWN
from runner.secrets.value import SecretError

COMMAND_SECONDS = 60.0
"""A command that gives a secret is ended after this time."""
MAX_BYTES = 1_000_000


def from_environment(name: str, origin: Origin | None) -> str:
    """The value of an environment variable of this process."""
    value = os.environ.get(name)
    if not value:
        state = "is not set" if value is None else "is empty"
        hint = f"Set it where gpurun is started: read -rs {name} && export {name}"
        raise SecretError(Problem(f"the environment variable {name} {state}", origin, hint))
    return value


def from_file(path: Path, origin: Origin | None) -> str:
    """What a file holds, without line breaks at its end; decrypted if it is of ansible-vault.

    A file in plain text must be readable by its owner only.
    """
    return private_text(path, origin).rstrip("\r\n")


def from_command(words: Sequence[str], folder: Path, origin: Origin | None) -> str:
    """What a command prints, without line breaks at its end. No shell; `COMMAND_SECONDS`."""
    return output_of(words, folder, origin).rstrip("\r\n")


def private_text(path: Path, origin: Origin | None) -> str:
    """The text of a file that only its owner can read, or that is encrypted.

    Raises:
        SecretError: it is not there, too large, no text, or others may read it.
    """
    from runner.secrets.passwords import passwords
    from runner.secrets.vault import is_encrypted

    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SecretError(Problem(f"{path} cannot be read: {error.strerror}", origin)) from None
    if len(raw) > MAX_BYTES:
        raise SecretError(Problem(f"{path} is too large for a secret", origin))
    text = _decoded(raw, str(path), origin)
    if is_encrypted(text):
        return _decoded(passwords().decrypt(text, Origin(str(path))), str(path), origin)
    if mode & 0o077:
        message = f"{path} holds a secret and others may read it (mode {mode:04o})"
        raise SecretError(Problem(message, origin, f"chmod 600 {shlex.quote(str(path))}"))
    return text


def output_of(words: Sequence[str], folder: Path, origin: Origin | None) -> str:
    """What a command prints to stdout. It has no stdin and `COMMAND_SECONDS`; what it says on
    stderr may hold the secret as well and is not kept.

    Raises:
        SecretError: it cannot be run, fails, prints no text or nothing, or does not end.
    """
    shown = words[0].rpartition("/")[2]
    out, _ = _run(words, folder, origin, f"Run it by hand to see why: {shlex.join(words)}")
    text = _decoded(out, f"what {shown} printed", origin)
    if not text.strip():
        raise SecretError(Problem(f"{shown} printed nothing, a secret was expected", origin))
    return text


def _run(
    words: Sequence[str], folder: Path, origin: Origin | None, hint: str, tell: bool = False
) -> tuple[bytes, bytes]:
    """stdout and stderr of a command that ends well. `tell`: say what it said when it does not."""
    shown = words[0].rpartition("/")[2]
    try:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
        )
    except OSError as error:
        message = f"{shown} cannot be run: {error.strerror}"
        raise SecretError(Problem(message, origin, hint)) from None
    try:
        out, said = process.communicate(timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        # Not waited for its pipes: a child of its own may still hold them.
        process.kill()
        process.wait()
        message = f"{shown} did not end within {COMMAND_SECONDS:g} s"
        raise SecretError(Problem(message, origin, hint)) from None
    if process.returncode:
        tail = said.decode("utf-8", "replace").strip().splitlines() if tell else []
        why = f": {KNOWN(tail[-1])}" if tail else ""
        message = f"{shown} ended with exit code {process.returncode}{why}"
        raise SecretError(Problem(message, origin, hint))
    return out, said


def _decoded(raw: bytes, what: str, origin: Origin | None) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        message, hint = f"{what} is not UTF-8 text", "Keep it in base64 and use | b64decode."
        raise SecretError(Problem(message, origin, hint)) from None


class SopsFile:
    """A file encrypted with sops, decrypted by its program when a value is wanted, once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._content: Any = None
        self._error: SecretError | None = None

    def value(self, place: Sequence[str], origin: Origin | None) -> Any:
        """The value under the keys `place`; a file that is not YAML or JSON has one, under ().

        Raises:
            SecretError: sops is not installed, cannot decrypt, or there is no such value.
        """
        found = self._decrypted(origin)
        if not place and isinstance(found, dict) and list(found) == ["data"]:
            place = ("data",)
        for depth, key in enumerate(place):
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                where = ".".join(place[: depth + 1])
                raise SecretError(Problem(f"{self._path} has no value {where}", origin))
        if isinstance(found, dict | list) or found is None:
            message = f"{self._path}: key must name one value, found none or several"
            raise SecretError(Problem(message, origin, "Write key: a.b"))
        return found

    def _decrypted(self, origin: Origin | None) -> Any:
        with self._lock:
            if self._error is None and self._content is None:
                try:
                    self._content = _from_sops(self._path, origin)
                except SecretError as error:
                    self._error = error
        if self._error:
            raise self._error
        return self._content


@lru_cache(maxsize=256)
def sops_file(path: Path) -> SopsFile:
    """The one `SopsFile` of a path."""
    return SopsFile(path)


def _from_sops(path: Path, origin: Origin | None) -> Any:
    program = shutil.which("sops")
    if program is None:
        message = f"{path} is encrypted with sops, and there is no program sops in PATH"
        raise SecretError(Problem(message, origin, "Install it: https://getsops.io"))
    if not path.is_file():
        raise SecretError(Problem(f"{path}: no such file", origin))
    words = [program, "-d", "--output-type", "json", str(path.resolve())]
    hint = f"Try it by hand: sops -d {shlex.quote(str(path))} > /dev/null"
    out, _ = _run(words, path.parent, origin, hint, tell=True)
    try:
        return json.loads(out)
    except ValueError:
        raise SecretError(Problem(f"sops gave no JSON for {path}", origin, hint)) from None
