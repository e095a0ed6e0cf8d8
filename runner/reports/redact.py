"""Secrets are taken out by value, in every sink."""

from __future__ import annotations

from collections.abc import Callable, Iterable

SHOWN = "********"
SHORTEST = 4
"""Shorter values are not replaced: they would hide half of every text and protect nothing."""


def redactor(secrets: Iterable[str | None]) -> Callable[[str], str]:
    """A function that replaces each secret, and each line of one, wherever it stands."""
    pieces = {
        piece
        for secret in secrets
        if secret
        for piece in (secret, *secret.splitlines())
        if len(piece) >= SHORTEST
    }
    longest_first = sorted(pieces, key=len, reverse=True)

    def redact(text: str) -> str:
        for piece in longest_first:
            text = text.replace(piece, SHOWN)
        return text

    return redact
