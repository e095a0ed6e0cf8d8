"""known_hosts files: which keys a host may show. fabric checks none, paramiko only some.

Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": names with wildcards and negation, hashed names,
`@revoked` lines. `@cert-authority` lines are passed over: host certificates are not offered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line: the names it is for, and the key."""

    names: tuple[str, ...]
    kind: str
    key: bytes
    revoked: bool = False

    def is_for(self, name: str) -> bool:
        """Whether the line speaks about this name (`host` or `[host]:port`)."""
        if any(known[1:] == name for known in self.names if known.startswith("!")):
            return False
        return any(_matches(known, name) for known in self.names)


def known_name(host: str, port: int) -> str:
    """How known_hosts writes a host: plain on port 22, else `[host]:port`."""
    return host if port == 22 else f"[{host}]:{port}"


def keys_for(name: str, files: Iterable[Path]) -> list[KnownKey]:
    """All lines for a name in files; a missing file holds none."""
    return [key for file in files for key in _load(file) if key.is_for(name)]


def _load(file: Path) -> Sequence[KnownKey]:
    try:
        changed = file.stat().st_mtime_ns
    except OSError:
        return ()
    return _parse(file, changed)


@lru_cache(maxsize=64)
def _parse(file: Path, changed: int) -> Sequence[KnownKey]:
    # `changed` makes a rewritten file a new entry: hundreds of hosts share one reading.
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
    return tuple(key for line in lines if (key := _parse_line(line)))


def _parse_line(line: str) -> KnownKey | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#") or marker == "@cert-authority":
        return None
    try:
        key = base64.b64decode(words[2], validate=True)
    except binascii.Error:
        return None
    return KnownKey(tuple(words[0].split(",")), words[1], key, marker == "@revoked")


def _matches(known: str, name: str) -> bool:
    if known.startswith("|1|"):
        return _is_hash_of(known, name)
    if "*" in known or "?" in known:
        return fnmatchcase(name.lower(), known.lower().replace("[", "[[]"))
    return known.lower() == name.lower()


def _is_hash_of(known: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in known.split("|")[2:4])
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
