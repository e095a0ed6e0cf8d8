"""What names, labels and keys may look like, in the words of apimachinery's validation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
    "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)

Rule = Callable[[str], Iterator[str]]
"""What is wrong with a text; nothing when it may stand."""


def dns_label(text: str) -> Iterator[str]:
    """RFC 1123 label: namespaces, containers, volumes."""
    yield from _too_long(text, 63)
    if not _LABEL.fullmatch(text):
        yield _LABEL_RULE


def dns_subdomain(text: str) -> Iterator[str]:
    """RFC 1123 subdomain: the names of most objects."""
    yield from _too_long(text, 253)
    if not _SUBDOMAIN.fullmatch(text):
        yield _SUBDOMAIN_RULE


def path_segment(text: str) -> Iterator[str]:
    """Names of roles and their bindings."""
    if text in (".", ".."):
        yield f"may not be '{text}'"
    for character in "/%":
        if character in text:
            yield f"may not contain '{character}'"


def qualified_name(text: str) -> Iterator[str]:
    """Keys of labels, annotations and taints: a name, perhaps below a prefix."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        example = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        yield f"a qualified name {_NAME_RULE} {example}"
        return
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif slash:
        yield from (f"prefix part {why}" for why in dns_subdomain(prefix))
    if not name:
        yield "name part must be non-empty"
    yield from (f"name part {why}" for why in _too_long(name, 63))
    if not _NAME.fullmatch(name):
        yield f"name part {_NAME_RULE}"


def label_value(text: str) -> Iterator[str]:
    """Values of labels and taints."""
    yield from _too_long(text, 63)
    if not _VALUE.fullmatch(text):
        yield _VALUE_RULE


def config_key(text: str) -> Iterator[str]:
    """Keys of ConfigMaps and Secrets."""
    yield from _too_long(text, 253)
    if not _CONFIG_KEY.fullmatch(text):
        yield _KEY_RULE


def _too_long(text: str, most: int) -> Iterator[str]:
    if len(text) > most:
        yield f"must be no more than {most} bytes"
