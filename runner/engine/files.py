"""Reading the files a playbook names (`src`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runner.errors import Origin
from runner.modules.base import Refused
from runner.secrets.passwords import passwords
from runner.secrets.value import SecretError, known
from runner.secrets.vault import HEADER


def reader(folder: Path) -> Callable[[str], bytes]:
    """A function that reads a `src`: absolute, or beside the playbook, in its `files/` and
    `templates/`, or in the `templates/` and `files/` beside the playbook's folder. A file of
    ansible-vault is decrypted."""
    places = [folder, folder / "files", folder / "templates"]
    places += [folder.parent / "templates", folder.parent / "files"]

    def read(name: str) -> bytes:
        for place in places:
            path = place / name
            if path.is_file():
                return _bytes(path)
        looked = ", ".join(str(place) for place in places)
        raise Refused(f"the file '{name}' is not there; looked in {looked}")

    return read


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    return _decrypted(raw, path) if raw.startswith(HEADER.encode()) else raw


def _decrypted(raw: bytes, path: Path) -> bytes:
    """What a file of ansible-vault holds; its text is a secret from then on."""
    try:
        plain = passwords().decrypt(raw.decode("utf-8", "replace"), Origin(str(path)))
    except SecretError as error:
        raise Refused(str(error)) from None
    known(plain.decode("utf-8", "replace"), path.name)
    return plain
