"""ansible-vault's format, 1.1 and 1.2: AES-256 in counter mode under an HMAC.

As written by `VaultAES256` of ansible-core (lib/ansible/parsing/vault): a header line, then
hexadecimal text in lines of 80, which holds salt, HMAC and ciphertext in hexadecimal again.
"""

from __future__ import annotations

from binascii import Error as NotHexadecimal
from binascii import unhexlify
from dataclasses import dataclass

HEADER = "$ANSIBLE_VAULT;"
_ROUNDS = 10_000
_KEY = 32
_BLOCK = 16


class NotVault(Exception):
    """The text is damaged or of a version or cipher that is not known."""


class WrongPassword(Exception):
    """The HMAC does not fit: the password is another one, or the text was changed."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encrypted text. `label` is its vault id, "" in version 1.1."""

    salt: bytes
    digest: bytes
    encrypted: bytes
    label: str = ""


def is_encrypted(text: str) -> bool:
    """Whether a text or file is of ansible-vault."""
    return text.lstrip().startswith(HEADER)


def parse(text: str) -> Envelope:
    """The parts of an encrypted text.

    Raises:
        NotVault: with what is wrong; never a part of the text.
    """
    header, *lines = [line.strip() for line in text.strip().splitlines()] or [""]
    version, cipher, label = _header(header)
    if version not in ("1.1", "1.2"):
        raise NotVault(f"version {version} of ansible-vault is not known, 1.1 and 1.2 are")
    if cipher != "AES256":
        raise NotVault(f"cipher {cipher} of ansible-vault is not known, AES256 is")
    try:
        parts = [unhexlify(part) for part in unhexlify("".join(lines)).split(b"\n")]
    except (NotHexadecimal, ValueError):
        raise NotVault("the encrypted text is damaged: it is not hexadecimal") from None
    if len(parts) != 3 or not all(parts):
        raise NotVault("the encrypted text is damaged: salt, HMAC or content is missing")
    salt, digest, encrypted = parts
    return Envelope(salt, digest, encrypted, label)


def _header(line: str) -> tuple[str, str, str]:
    fields = line.removeprefix(HEADER).split(";")
    if not line.startswith(HEADER) or not 2 <= len(fields) <= 3:
        raise NotVault(f"the first line must be {HEADER}1.1;AES256")
    return fields[0], fields[1], fields[2] if len(fields) == 3 else ""


def decrypt(envelope: Envelope, password: bytes) -> bytes:
    """The plain bytes.

    Raises:
        WrongPassword: see there.
    """
    import hashlib
    import hmac

    size = 2 * _KEY + _BLOCK
    derived = hashlib.pbkdf2_hmac("sha256", password, envelope.salt, _ROUNDS, size)
    seal = hmac.digest(derived[_KEY : 2 * _KEY], envelope.encrypted, "sha256")
    if not hmac.compare_digest(seal, envelope.digest):
        raise WrongPassword
    return _decrypted(envelope.encrypted, derived[:_KEY], derived[2 * _KEY :])


def _decrypted(encrypted: bytes, key: bytes, counter: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    decryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).decryptor()
    padded = decryptor.update(encrypted) + decryptor.finalize()
    unpadder = PKCS7(8 * _BLOCK).unpadder()
    return unpadder.update(padded) + unpadder.finalize()
