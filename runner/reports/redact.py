"""Secrets are taken out by value, in every sink."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SHOWN = "********"
SHORTEST = 4
"""Shorter values are not replaced: they would hide half of every text and protect nothing."""


class Redactor:
    """Replaces each secret, and each line of one, wherever it stands. Secrets may be added as they
    become known, before anything that could hold them is shown."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        self._pieces: list[str] = []
        self.add(secrets)

    def add(self, secrets: Iterable[str | None]) -> None:
        """Take these out as well."""
        found = {
            piece
            for secret in secrets
            if secret
            for piece in (secret, *secret.splitlines())
            if len(piece) >= SHORTEST
        }
        self._pieces = sorted(found | set(self._pieces), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for piece in self._pieces:
            text = text.replace(piece, SHOWN)
        return text

    def data(self, value: Any) -> Any:
        """Plain data without secrets, at any depth."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {key: self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value
