"""YAML files of variables that are encrypted: whole by ansible-vault, value by value by sops."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.secret_tags import from_sops
from runner.playbook.source import BooleanWord, Document, parse_yaml
from runner.secrets.passwords import passwords
from runner.secrets.redact import KNOWN
from runner.secrets.value import SecretError, Unread, known

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_SHORTEST_LITERAL = 8
"""Characters. What is shorter in an encrypted file may as well be an ordinary word."""
_SOPS_VALUE = "ENC["


def decrypted(text: str, path: Path, *, boolean_words: bool) -> Document:
    """A file encrypted as a whole: all its texts are secrets. Without any vault password lint
    takes it as empty."""
    where = Origin(str(path), 1, 1)
    made = Document(str(path), origin=where)
    if passwords().may_be_missing:
        made.value = Map({}, where)
        return made
    try:
        plain = passwords().decrypt(text, where).decode()
    except SecretError as error:
        made.problems.append(error.problem)
        return made
    except UnicodeDecodeError:
        made.problems.append(Problem("the decrypted file is not UTF-8 text", where))
        return made
    document = parse_yaml(plain, str(path), boolean_words=boolean_words)
    if document.problems:
        # What is wrong would be told with pieces of the text.
        line = document.problems[0].origin.line if document.problems[0].origin else 1
        message = f"the decrypted file is not correct YAML in line {line}"
        made.problems.append(Problem(message, where, f"Look at it: ansible-vault view {path}"))
        return made
    # The text itself is not kept.
    made.value, made.origin = all_secret(document.value, path.name), document.origin
    return made


def all_secret(value: Any, name: str) -> Any:
    """Every text of a value as a secret, named by its key. A template stays one; the texts around
    its expressions are secret."""
    if isinstance(value, Map):
        for key, item in value.items():
            value[key] = item if _is_no_secret(key) else all_secret(item, key)
    elif isinstance(value, Seq):
        value[:] = [all_secret(item, name) for item in value]
    elif isinstance(value, TemplateText):
        for literal in _TEMPLATE.split(value):
            if len(literal.strip()) >= _SHORTEST_LITERAL:
                KNOWN.add(literal, name)
    elif not isinstance(value, bool | BooleanWord | Unread):
        return known(value, name, everyday=len(str(value)) < _SHORTEST_LITERAL)
    return value


def _is_no_secret(key: str) -> bool:
    """How a host is reached is told in every message, wherever it was read."""
    return key.startswith("ansible_") and not key.endswith(("password", "pass"))


def is_of_sops(value: Any) -> bool:
    """Whether a document has the metadata that sops writes."""
    return isinstance(value, Map) and isinstance(value.get("sops"), Map) and "mac" in value["sops"]


def without_sops(document: Document) -> None:
    """Make the values that sops has encrypted secrets that are read when used."""
    value: Map = document.value
    del value["sops"]
    path = Path(document.file)
    for key in value:
        value[key] = _sops_values(value[key], (key,), value.where(key) or document.origin, path)


def _sops_values(value: Any, place: tuple[str, ...], where: Origin, path: Path) -> Any:
    if isinstance(value, Map):
        for key in value:
            value[key] = _sops_values(value[key], (*place, key), value.where(key) or where, path)
    elif isinstance(value, Seq):
        pairs = zip(value, value.origins, strict=True)
        value[:] = [_sops_values(v, (*place, str(n)), o, path) for n, (v, o) in enumerate(pairs)]
    elif isinstance(value, str) and value.startswith(_SOPS_VALUE):
        named = next((part for part in reversed(place) if not part.isdigit()), place[0])
        return Unread(named, where, partial(from_sops, path, place, where))
    return value
