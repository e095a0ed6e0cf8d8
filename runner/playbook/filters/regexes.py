"""Filters and tests with regular expressions: Python's syntax, matched with a deadline."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from runner.playbook import limits

SECONDS = 3.0
"""How long one pattern may search one text. `(a+)+$` needs longer than the universe has."""

MAX_REPEATS = 100_000
"""What the counted repeats of a pattern, (a{9}){9}, may come to."""


def _compiled(pattern: str, ignorecase: bool, multiline: bool) -> Any:
    """The pattern for the module `regex`, which knows deadlines.

    Python's own `re` judges the syntax first, so that patterns mean what they mean in Ansible:
    what only `regex` knows is an error, and its one extension that `re` takes for plain text,
    "{e<=1}", is escaped.
    """
    import regex

    flags = (re.IGNORECASE if ignorecase else 0) | (re.MULTILINE if multiline else 0)
    try:
        re.compile(pattern, flags)
    except (re.error, OverflowError) as error:
        raise ValueError(f"regular expression {pattern!r}: {error}") from None
    except RecursionError:
        raise ValueError("regular expression: nested too deeply") from None
    _check_repeats(pattern)
    plain = re.sub(r"(\\N\{[^}]*\}|\\.)|\{(?!\d*,?\d*\})", _literal_brace, pattern, flags=re.S)
    return regex.compile(plain, flags | regex.VERSION0)


def _check_repeats(pattern: str) -> None:
    """Counted repeats are written out while compiling, those of groups times what is inside."""
    repeats = [(m[1], int(m[2][-9:])) for m in re.finditer(r"(\)?)\{(\d+)", pattern)]
    size = sum(count for group, count in repeats if not group) or 1
    for group, count in repeats:
        size *= max(1, count) if group else 1
    if size > MAX_REPEATS:
        raise limits.LimitReached(f"the regular expression {pattern!r} repeats too often")


def _literal_brace(found: re.Match[str]) -> str:
    return found[1] or "\\{"


def _in_time(run: Callable[[float], Any], pattern: str) -> Any:
    import regex

    try:
        return run(min(SECONDS, limits.seconds_left()))
    except TimeoutError:
        raise limits.LimitReached(
            f"the regular expression {pattern!r} takes longer than {SECONDS:g} seconds"
        ) from None
    except (IndexError, regex.error) as error:
        raise ValueError(f"regular expression {pattern!r}: {error}") from None


def regex_replace(
    value: Any = "",
    pattern: str = "",
    replacement: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
    count: int = 0,
    mandatory_count: int = 0,
) -> str:
    """Every match replaced; `count` says how many at most, `mandatory_count` how many exactly."""
    found = _compiled(pattern, ignorecase, multiline)
    size = 0

    def expanded(match: Any) -> str:
        nonlocal size
        piece: str = match.expand(replacement)
        size += len(piece)
        limits.check_length(size)
        return piece

    result, made = _in_time(
        lambda t: found.subn(expanded, str(value), count=count, timeout=t), pattern
    )
    if mandatory_count and mandatory_count != made:
        raise ValueError(f"regex_replace: {pattern!r} matches {made} times, not {mandatory_count}")
    return str(result)


def regex_search(
    value: Any, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False
) -> Any:
    r"""The match as text, or a list of groups (`"\\1"`, `"\\g<name>"`); None without a match."""
    wanted = [_group(name) for name in groups]
    found = _compiled(pattern, ignorecase, multiline)
    match = _in_time(lambda t: found.search(str(value), timeout=t), pattern)
    if match is None:
        return None
    return _in_time(
        lambda _: [match.group(g) for g in wanted] if wanted else match.group(), pattern
    )


def _group(name: str) -> int | str:
    found = re.fullmatch(r"\\g<(\w+)>|\\(\d+)", name)
    if not found:
        raise ValueError(f"regex_search: {name!r} names no group; write '\\\\1' or '\\\\g<name>'")
    text = found[1] or found[2]
    return int(text) if found[2] else text


def regex_findall(
    value: Any, regex: str, multiline: bool = False, ignorecase: bool = False
) -> list[Any]:
    found = _compiled(regex, ignorecase, multiline)
    return list(_in_time(lambda t: found.findall(str(value), timeout=t), regex))


def regex_escape(value: Any, re_type: str = "python") -> str:
    """The text so that it matches itself; `re_type` is `python` or `posix_basic` (grep, sed)."""
    if re_type == "python":
        return re.escape(str(value))
    if re_type == "posix_basic":
        return re.sub(r"([].[^$*\\])", r"\\\1", str(value))
    raise ValueError(f"regex_escape: re_type {re_type!r} is neither python nor posix_basic")


def regex(
    value: Any = "",
    pattern: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
    match_type: str = "search",
) -> bool:
    """Whether the text matches; `match_type` is `search`, `match` or `fullmatch`."""
    if match_type not in ("search", "match", "fullmatch"):
        raise ValueError(f"match_type {match_type!r} is none of search, match, fullmatch")
    find = getattr(_compiled(pattern, ignorecase, multiline), match_type)
    return _in_time(lambda t: find(str(value), timeout=t), pattern) is not None


def match(value: Any, pattern: str = "", ignorecase: bool = False, multiline: bool = False) -> bool:
    return regex(value, pattern, ignorecase, multiline, "match")


def search(
    value: Any, pattern: str = "", ignorecase: bool = False, multiline: bool = False
) -> bool:
    return regex(value, pattern, ignorecase, multiline, "search")


FILTERS: dict[str, Callable[..., Any]] = {
    "regex_escape": regex_escape,
    "regex_findall": regex_findall,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
}
TESTS: dict[str, Callable[..., bool]] = {"match": match, "regex": regex, "search": search}
