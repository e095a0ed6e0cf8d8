"""Filters from and to JSON, YAML, base64 and hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from jinja2.filters import do_tojson
from jinja2.nodes import EvalContext
from jinja2.utils import pass_eval_context

from runner.playbook import limits

MAX_YAML = 1_000_000
"""Characters that from_yaml reads: YAML takes a hundred times as long as JSON."""

_NAMESPACE = uuid.UUID("361E6D51-FAEC-444A-9079-341386DA8E2E")
"""Ansible's namespace of to_uuid, so that both give the same."""


def plain(value: Any) -> Any:
    """Mappings and lists of any class as dict and list, texts as str, for JSON and YAML."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) or hasattr(value, "_undefined_name") else value


def to_json(
    value: Any,
    indent: int | None = None,
    sort_keys: bool = False,
    ensure_ascii: bool = True,
    separators: Any = None,
) -> str:
    _check_indent(value, indent)
    try:
        return json.dumps(
            plain(value),
            indent=indent,
            sort_keys=sort_keys,
            ensure_ascii=ensure_ascii,
            separators=separators,
        )
    except TypeError as error:
        raise ValueError(f"to_json: {error}") from None


def to_nice_json(
    value: Any, indent: int = 4, sort_keys: bool = True, ensure_ascii: bool = True
) -> str:
    return to_json(value, indent, sort_keys, ensure_ascii)


@pass_eval_context
def tojson(context: EvalContext, value: Any, indent: int | None = None) -> str:
    """Jinja2's own, for HTML: <, >, & and ' are escaped."""
    _check_indent(value, indent)
    return str.__str__(do_tojson(context, plain(value), indent))


def from_json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"from_json: {error}") from None
    except RecursionError:
        raise ValueError("from_json: nested too deeply") from None


def to_yaml(
    value: Any,
    indent: int | None = None,
    sort_keys: bool = True,
    default_flow_style: bool | None = None,
    width: int | None = None,
    explicit_start: bool = False,
) -> str:
    """YAML; lists and mappings that hold no others stand on one line (`default_flow_style`)."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _: Any) -> bool:
            return True

    _check_indent(value, indent)
    try:
        result: str = yaml.dump(
            plain(value),
            Dumper=Dumper,
            indent=indent,
            sort_keys=sort_keys,
            allow_unicode=True,
            default_flow_style=default_flow_style,
            width=width,
            explicit_start=explicit_start,
        )
    except yaml.YAMLError as error:
        raise ValueError(f"to_yaml: {error}") from None
    return result.removesuffix("...\n") if result.endswith("\n...\n") else result


def to_nice_yaml(
    value: Any,
    indent: int = 4,
    sort_keys: bool = True,
    default_flow_style: bool | None = False,
    width: int | None = None,
    explicit_start: bool = False,
) -> str:
    return to_yaml(value, indent, sort_keys, default_flow_style, width, explicit_start)


def _check_indent(value: Any, indent: int | None) -> None:
    limits.check_length(limits.weight(value) * max(1, indent or 1))


def from_yaml(text: Any) -> Any:
    documents = _documents("from_yaml", text)
    if len(documents) > 1:
        raise ValueError("from_yaml: several documents; use from_yaml_all")
    return documents[0] if documents else None


def from_yaml_all(text: Any) -> list[Any]:
    """A list with what each document of the text (parted by ---) holds."""
    return _documents("from_yaml_all", text)


def _documents(name: str, text: Any) -> list[Any]:
    import yaml

    if text is None:
        return []
    if not isinstance(text, str):
        raise ValueError(f"{name}: {text!r} is not text")
    if len(text) > MAX_YAML:
        raise limits.LimitReached(f"{name}: more than {MAX_YAML} characters")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = list(yaml.load_all(text, Loader=loader))
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: {error}") from None
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply") from None
    limits.weight(found)
    return found


def b64encode(value: Any, encoding: str = "utf-8", urlsafe: bool = False) -> str:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    return encode(str(value).encode(encoding)).decode("ascii")


def b64decode(value: Any, encoding: str = "utf-8", urlsafe: bool = False) -> str:
    decode = base64.urlsafe_b64decode if urlsafe else base64.b64decode
    try:
        return decode(str(value)).decode(encoding)
    except ValueError as error:
        raise ValueError(f"b64decode: {error}") from None


def hashed(value: Any, hashtype: str = "sha1") -> str:
    try:
        return hashlib.new(hashtype, str(value).encode()).hexdigest()
    except (ValueError, TypeError) as error:
        raise ValueError(f"hash: {error}") from None


def to_uuid(value: Any, namespace: str = str(_NAMESPACE)) -> str:
    """The UUID (version 5) that stands for a text in a namespace: always the same."""
    try:
        return str(uuid.uuid5(uuid.UUID(namespace), str(value)))
    except (ValueError, AttributeError):
        raise ValueError(f"to_uuid: the namespace {namespace!r} is not a UUID") from None


FILTERS: dict[str, Callable[..., Any]] = {
    "b64decode": b64decode,
    "b64encode": b64encode,
    "checksum": lambda value: hashed(value, "sha1"),
    "from_json": from_json,
    "from_yaml": from_yaml,
    "from_yaml_all": from_yaml_all,
    "hash": hashed,
    "md5": lambda value: hashed(value, "md5"),
    "sha1": lambda value: hashed(value, "sha1"),
    "to_json": to_json,
    "to_nice_json": to_nice_json,
    "to_nice_yaml": to_nice_yaml,
    "to_uuid": to_uuid,
    "to_yaml": to_yaml,
    "tojson": tojson,
}
