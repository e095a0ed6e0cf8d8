"""The forms in which a secret turns up in other text."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from runner.hosts.display import printable
from runner.secrets.redact import SHORTEST

_ARMOUR = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]+-----")
"""The first and last line of a PEM file (RFC 7468) are the same in all of them."""


def forms(secret: str) -> set[str]:
    """Every form of a secret that has at least `SHORTEST` characters: as it is, each of its lines,
    and both as other notations write them; in base64 the whole, at any place of a longer text."""
    lines = {line.strip() for line in secret.splitlines()} | {secret.strip(), secret}
    kept = {line for line in lines if len(line) >= SHORTEST and not _ARMOUR.fullmatch(line)}
    found = {form for line in kept for form in _written(line)}
    if len(secret) >= SHORTEST:
        found |= set(_base64(secret.encode("utf-8", "surrogateescape")))
    # Text that is quoted twice is searched without its backslashes.
    found |= {form.replace("\\", "") for form in found}
    return {form for form in found if len(form) >= SHORTEST}


def _written(text: str) -> Iterator[str]:
    """A text as JSON, URLs, shells, HTML, Python and a careful terminal write it."""
    yield text
    yield printable(text)
    yield from _inside(json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text))
    yield text.replace("'", "'\"'\"'")
    yield text.replace("'", "'\\''")
    yield shlex.quote(text)
    yield html.escape(text)
    yield html.escape(text, quote=False)
    for encoded in (
        quote(text, errors="surrogateescape"),
        quote(text, safe="", errors="surrogateescape"),
        quote_plus(text, errors="surrogateescape"),
    ):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)


def _inside(*quoted: str) -> Iterator[str]:
    for text in quoted:
        yield text[1:-1]


def _base64(raw: bytes) -> Iterator[str]:
    """The digits that the bytes alone decide, for each of the three places they may have."""
    for before in range(3):
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + raw).decode()[first:last]
    yield base64.b64encode(raw).decode()
    yield base64.urlsafe_b64encode(raw).decode()
