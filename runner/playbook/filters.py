"""Filters, tests and functions of expressions beside Jinja2's own: those Ansible's users know.

Behaviour and argument names follow Ansible's documentation of each filter. None of them reads a
file, the environment or the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

MAX_RANGE = 100_000

_TRUE = ("y", "yes", "on", "1", "true", "t")
_FALSE = ("n", "no", "off", "0", "false", "f", "")


def to_bool(value: Any) -> bool | None:
    """True for yes, on, 1 and true in any case, false for their opposites; others are errors."""
    if value is None or isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("1.0", "0.0"):
        text = text[0]
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"bool: {value!r} is neither true nor false")


def to_int(value: Any, default: Any = None, base: int = 10) -> int:
    """A whole number. Text that holds none is an error unless a default is given (Jinja2's own
    filter would silently give 0)."""
    try:
        return int(value, base) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        if default is None:
            raise ValueError(f"int: {value!r} is not a whole number") from None
        result: int = default
        return result


def plain(value: Any) -> Any:
    """Mappings and lists of any class as dict and list, for JSON and YAML."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def to_json(value: Any, indent: int | None = None, sort_keys: bool = False) -> str:
    return json.dumps(plain(value), indent=indent, sort_keys=sort_keys, ensure_ascii=True)


def to_nice_json(value: Any, indent: int = 4, sort_keys: bool = True) -> str:
    return to_json(value, indent, sort_keys)


def from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"from_json: {error}") from None


def to_yaml(value: Any, indent: int = 2, sort_keys: bool = True) -> str:
    import yaml

    result: str = yaml.safe_dump(
        plain(value), indent=indent, sort_keys=sort_keys, allow_unicode=True
    )
    return result


def to_nice_yaml(value: Any, indent: int = 4, sort_keys: bool = True) -> str:
    import yaml

    result: str = yaml.safe_dump(
        plain(value),
        indent=indent,
        sort_keys=sort_keys,
        allow_unicode=True,
        default_flow_style=False,
    )
    return result


def from_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"from_yaml: {error}") from None


def unique(values: Any) -> list[Any]:
    """The first of each equal value, in order."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def union(first: Any, second: Any) -> list[Any]:
    return unique([*first, *second])


def intersect(first: Any, second: Any) -> list[Any]:
    return unique([value for value in first if value in second])


def difference(first: Any, second: Any) -> list[Any]:
    return unique([value for value in first if value not in second])


def combine(*values: Any, recursive: bool = False) -> dict[str, Any]:
    """Mappings merged, later ones win; `recursive` merges mappings inside them too."""
    result: dict[str, Any] = {}
    for value in flatten(list(values)):
        if not isinstance(value, Mapping):
            raise ValueError(f"combine: {value!r} is not a mapping")
        for key, item in value.items():
            both = isinstance(item, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = combine(result[key], item, recursive=True) if recursive and both else item
    return result


def flatten(values: Any, levels: int | None = None) -> list[Any]:
    """Lists inside lists made one list; `levels` of them."""
    result: list[Any] = []
    for value in values:
        if isinstance(value, list | tuple) and levels != 0:
            result.extend(flatten(value, None if levels is None else levels - 1))
        else:
            result.append(value)
    return result


def dict2items(
    value: Mapping[str, Any], key_name: str = "key", value_name: str = "value"
) -> list[dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"dict2items: {value!r} is not a mapping")
    return [{key_name: key, value_name: item} for key, item in value.items()]


def items2dict(values: Any, key_name: str = "key", value_name: str = "value") -> dict[Any, Any]:
    return {item[key_name]: item[value_name] for item in values}


def _flags(ignorecase: bool, multiline: bool) -> int:
    return (re.IGNORECASE if ignorecase else 0) | (re.MULTILINE if multiline else 0)


def regex_replace(
    value: Any,
    pattern: str = "",
    replacement: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
    count: int = 0,
) -> str:
    return re.sub(
        pattern, replacement, str(value), count=count, flags=_flags(ignorecase, multiline)
    )


def regex_search(
    value: Any, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False
) -> Any:
    r"""The match as text, or a list of groups (`"\\1"`, `"\\g<name>"`); None without a match."""
    match = re.search(pattern, str(value), _flags(ignorecase, multiline))
    if match is None:
        return None
    if not groups:
        return match.group()
    return [match.group(_group(name)) for name in groups]


def _group(name: str) -> int | str:
    found = re.fullmatch(r"\\g<(\w+)>|\\(\d+)", name)
    if not found:
        raise ValueError(f"regex_search: {name!r} names no group; write '\\\\1' or '\\\\g<name>'")
    text = found[1] or found[2]
    return int(text) if text.isdigit() else text


def regex_findall(
    value: Any, pattern: str, multiline: bool = False, ignorecase: bool = False
) -> list[Any]:
    return re.findall(pattern, str(value), _flags(ignorecase, multiline))


def regex_escape(value: Any) -> str:
    return re.escape(str(value))


def ternary(value: Any, true_value: Any, false_value: Any, none_value: Any = None) -> Any:
    if value is None and none_value is not None:
        return none_value
    return true_value if bool(value) else false_value


def b64encode(value: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(value.encode(encoding)).decode("ascii")


def b64decode(value: str, encoding: str = "utf-8") -> str:
    return base64.b64decode(value).decode(encoding)


def hashed(value: str, hashtype: str = "sha1") -> str:
    return hashlib.new(hashtype, str(value).encode()).hexdigest()


def quote(value: Any) -> str:
    """One word of a POSIX shell."""
    return shlex.quote("" if value is None else str(value))


def splitext(value: str) -> list[str]:
    return list(posixpath.splitext(value))


def type_name(value: Any) -> str:
    """`type_debug`: the name of the value's type."""
    kinds = ((bool, "bool"), (str, "str"), (Mapping, "dict"), (list, "list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def _version_key(text: str) -> list[tuple[int, int | str]]:
    parts = re.findall(r"\d+|[a-zA-Z]+", str(text))
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "=": lambda a, b: a == b,
    "eq": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "ne": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "lt": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "le": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "gt": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "ge": lambda a, b: a >= b,
}


def version(value: Any, other: Any, operator: str = "eq") -> bool:
    """Compares versions part by part: 535.104.05 < 550.54."""
    if operator not in _OPERATORS:
        raise ValueError(f"version: operator {operator!r} is none of {', '.join(_OPERATORS)}")
    if not str(value) or not str(other):
        raise ValueError("version: nothing to compare, the version is empty")
    return _OPERATORS[operator](_version_key(value), _version_key(other))


def match(value: Any, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
    return bool(re.match(pattern, str(value), _flags(ignorecase, multiline)))


def search(value: Any, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
    return bool(re.search(pattern, str(value), _flags(ignorecase, multiline)))


def regex(value: Any, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
    return search(value, pattern, ignorecase, multiline)


def contains(value: Any, item: Any) -> bool:
    return item in value


def subset(value: Any, other: Any) -> bool:
    return all(item in other for item in value)


def superset(value: Any, other: Any) -> bool:
    return all(item in value for item in other)


def _state(name: str) -> Callable[[Any], bool]:
    def of(result: Any) -> bool:
        if not isinstance(result, Mapping):
            raise ValueError(f"is {name}: needs a registered result, not {result!r}")
        return bool(result.get(name, False))

    return of


def succeeded(result: Any) -> bool:
    return not _state("failed")(result)


def limited_range(*arguments: int) -> range:
    """Python's range, up to 100,000 numbers."""
    result = range(*arguments)
    if len(result) > MAX_RANGE:
        raise ValueError(f"range: more than {MAX_RANGE} numbers")
    return result


FILTERS: dict[str, Callable[..., Any]] = {
    "b64decode": b64decode,
    "b64encode": b64encode,
    "basename": lambda value: posixpath.basename(value),
    "bool": to_bool,
    "combine": combine,
    "dict2items": dict2items,
    "difference": difference,
    "dirname": lambda value: posixpath.dirname(value),
    "flatten": flatten,
    "from_json": from_json,
    "from_yaml": from_yaml,
    "hash": hashed,
    "int": to_int,
    "intersect": intersect,
    "items2dict": items2dict,
    "quote": quote,
    "regex_escape": regex_escape,
    "regex_findall": regex_findall,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
    "splitext": splitext,
    "ternary": ternary,
    "to_json": to_json,
    "to_nice_json": to_nice_json,
    "to_nice_yaml": to_nice_yaml,
    "to_yaml": to_yaml,
    "type_debug": type_name,
    "union": union,
    "unique": unique,
}

TESTS: dict[str, Callable[..., bool]] = {
    "changed": _state("changed"),
    "contains": contains,
    "failed": _state("failed"),
    "match": match,
    "regex": regex,
    "search": search,
    "skipped": _state("skipped"),
    "subset": subset,
    "succeeded": succeeded,
    "success": succeeded,
    "superset": superset,
    "version": version,
}


def _now_refused(*_: Any, **__: Any) -> Any:
    raise ValueError("lookups are not offered: read the value into a variable (-e) instead")


GLOBALS: dict[str, Any] = {
    "dict": dict,
    "lookup": _now_refused,
    "namespace": None,
    "query": _now_refused,
    "range": limited_range,
}


def _complete_globals() -> None:
    from jinja2.utils import Namespace

    GLOBALS["namespace"] = Namespace


_complete_globals()
