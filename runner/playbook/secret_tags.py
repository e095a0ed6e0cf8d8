"""`!secret` and `!vault` in YAML: values that are read when they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from runner.errors import Origin
from runner.secrets.value import Unread

SECRET = "!secret"
VAULT = ("!vault", "!vault-encrypted")
TAGS = (SECRET, *VAULT)

KINDS = {
    "env": "name of an environment variable",
    "file": "file that only its owner can read, or one of ansible-vault; relative to this file",
    "command": "program and arguments as a list; what it prints is the secret",
    "sops": "file encrypted with sops; key says which value of it",
}
FORM = "Write !secret {env: NAME}, {file: PATH}, {command: [...]} or {sops: FILE, key: a.b}."


class WrongTag(Exception):
    """What stands at the tag cannot be a secret; the message says what is expected."""


def secret_value(value: Any, origin: Origin, folder: Path) -> Unread:
    """What `!secret` stands for.

    Args:
        folder: of the file it is written in.

    Raises:
        WrongTag: the mapping is not of one of the forms.
    """
    if not isinstance(value, Mapping):
        raise WrongTag("!secret needs a mapping")
    kinds = [key for key in value if key in KINDS]
    strange = [key for key in value if key not in KINDS and key != "key"]
    if strange or len(kinds) != 1:
        found = f"unknown key {strange[0]}" if strange else f"found {len(kinds)} of them"
        raise WrongTag(f"!secret takes one of {', '.join(KINDS)}; {found}")
    kind = kinds[0]
    if "key" in value and kind != "sops":
        raise WrongTag("!secret: key belongs to sops")
    if kind == "command":
        words = _words(value[kind])
        return Unread(words[0], origin, partial(_from_command, words, folder, origin))
    given = _text(value, kind)
    place = tuple(_text(value, "key").split(".")) if "key" in value else ()
    name = place[-1] if place else Path(given).name
    return Unread(name, origin, _reader(kind, given, place, folder, origin))


def vault_value(text: str, origin: Origin) -> Unread:
    """What `!vault` stands for."""
    return Unread("vault", origin, partial(_from_vault, text, origin))


def _reader(
    kind: str, given: str, place: tuple[str, ...], folder: Path, origin: Origin
) -> Callable[[], Any]:
    if kind == "env":
        return partial(_from_environment, given, origin)
    path = folder / Path(given).expanduser()
    if kind == "file":
        return partial(_from_file, path, origin)
    return partial(from_sops, path, place, origin)


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value[key]
    # A TemplateText is a str as well, so the type itself is asked for.
    if type(found) is not str or not found:
        raise WrongTag(f"!secret: {key} is a plain text, without a template")
    return found


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(type(word) is not str for word in value):
        raise WrongTag("!secret: command is a list of plain texts: [program, argument]")
    return tuple(value)


def _from_environment(name: str, origin: Origin) -> str:
    from runner.secrets.sources import from_environment

    return from_environment(name, origin)


def _from_file(path: Path, origin: Origin) -> str:
    from runner.secrets.sources import from_file

    return from_file(path, origin)


def _from_command(words: tuple[str, ...], folder: Path, origin: Origin) -> str:
    from runner.secrets.sources import from_command

    return from_command(words, folder, origin)


def from_sops(path: Path, place: tuple[str, ...], origin: Origin) -> Any:
    """A value of a file that sops has encrypted."""
    from runner.secrets.sources import sops_file

    return sops_file(path).value(place, origin)


def _from_vault(text: str, origin: Origin) -> str:
    from runner.errors import Problem
    from runner.secrets.passwords import passwords
    from runner.secrets.value import SecretError

    try:
        return passwords().decrypt(text, origin).decode()
    except UnicodeDecodeError:
        raise SecretError(Problem("the decrypted value is not UTF-8 text", origin)) from None
