"""Vault passwords: where they come from, each asked for at most once and kept in memory only."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from runner.errors import GpurunError, Origin, Problem
from runner.secrets import vault
from runner.secrets.sources import output_of, private_text
from runner.secrets.value import SecretError, known

PROMPT = "prompt"
_HINT = (
    "Give --vault-password-file FILE, --vault-id LABEL@FILE or --ask-vault-pass, or set "
    "GPURUN_VAULT_PASSWORD_FILE, ANSIBLE_VAULT_PASSWORD_FILE or GPURUN_VAULT_PASSWORD."
)


def split_source(source: str) -> tuple[str, str]:
    """`label@place` as its parts; the label is "default" where none is given."""
    label, at, place = source.rpartition("@")
    return (label or "default", place) if at else ("default", source)


class VaultPasswords:
    """The vault passwords a run may use.

    Args:
        sources: each `label@place`, where place is "prompt", a file, or an executable that prints
            the password. Tried in order, those with the label of the encrypted text first.
        ask: asks a person for the password of a label.
        environment: GPURUN_VAULT_PASSWORD and the names of files are taken from it.
        required: False: who has no password at all may do without what is encrypted (lint).
    """

    def __init__(
        self,
        sources: Sequence[str] = (),
        ask: Callable[[str], str] | None = None,
        environment: Mapping[str, str] = os.environ,
        required: bool = True,
    ) -> None:
        self._ask = ask
        self._lock = threading.RLock()
        self._read: dict[str, str] = {}
        self._sources = list(sources)
        for name in ("GPURUN_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_PASSWORD_FILE"):
            if environment.get(name):
                self._sources.append(f"default@{environment[name]}")
        if given := environment.get("GPURUN_VAULT_PASSWORD"):
            source = "default@$GPURUN_VAULT_PASSWORD"
            self._sources.append(source)
            self._read[source] = known(given, "vault password")
        self.may_be_missing = not required and not self._sources

    def decrypt(self, text: str, origin: Origin | None) -> bytes:
        """The plain bytes of an encrypted text.

        Raises:
            SecretError: there is no password, none fits, or the text is damaged.
        """
        try:
            envelope = vault.parse(text)
        except vault.NotVault as error:
            hint = "Encrypt it anew: ansible-vault encrypt, or encrypt_string."
            raise SecretError(Problem(str(error), origin, hint)) from None
        tried: list[str] = []
        for label, password in self._passwords(envelope.label or "default", origin):
            try:
                return vault.decrypt(envelope, password.encode())
            except vault.WrongPassword:
                tried.append(label)
        named = f" (vault id {envelope.label})" if envelope.label else ""
        if not tried:
            message = f"is encrypted with ansible-vault{named}, and no vault password is given"
            raise SecretError(Problem(message, origin, _HINT))
        raise SecretError(
            Problem(
                f"no vault password opens it{named}; tried: {', '.join(tried)}",
                origin,
                "It was encrypted with another password, or was changed since.",
            )
        )

    def _passwords(self, wanted: str, origin: Origin | None) -> Iterator[tuple[str, str]]:
        """Label and password, those with the wanted label first; read when they are come to."""
        labels = [(split_source(source)[0], source) for source in self._sources]
        for label, source in sorted(labels, key=lambda pair: pair[0] != wanted):
            yield label, self._password(source, origin)

    def _password(self, source: str, origin: Origin | None) -> str:
        with self._lock:
            if source not in self._read:
                text = self._from(*split_source(source), origin)
                self._read[source] = known(text, "vault password")
            return self._read[source]

    def _from(self, label: str, place: str, origin: Origin | None) -> str:
        if place == PROMPT:
            if self._ask is None:
                raise GpurunError(
                    "the vault password cannot be asked for here", "give --vault-password-file FILE"
                )
            text, where = self._ask(label), Origin(f"the vault password of {label}")
        else:
            path = Path(place).expanduser()
            where = Origin(str(path))
            text = _from_file(path, label, where)
        if not text:
            raise SecretError(Problem("the vault password is empty", where))
        return text


def _from_file(path: Path, label: str, where: Origin) -> str:
    """What a password file holds or, where it is executable, prints. As with Ansible, a program
    called NAME-client is told the label."""
    if path.is_file() and os.access(path, os.X_OK):
        arguments = ["--vault-id", label] if path.stem.endswith("-client") else []
        return output_of([str(path.resolve()), *arguments], path.parent, where).strip("\r\n")
    return private_text(path, where).strip()


_current: VaultPasswords | None = None


def use(passwords: VaultPasswords | None) -> None:
    """Set the vault passwords of this process; None: those the environment names."""
    global _current
    _current = passwords


def passwords() -> VaultPasswords:
    """The vault passwords of this process."""
    if _current is None:
        use(VaultPasswords())
    assert _current is not None
    return _current
