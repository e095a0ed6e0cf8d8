"""Filters and tests on text: shell words, comments, URLs, and Jinja2's own where they can grow."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import jinja2.filters as jinja
from jinja2.nodes import EvalContext
from jinja2.utils import pass_environment, pass_eval_context

from runner.playbook import limits


def quote(value: Any) -> str:
    """One word of a POSIX shell."""
    return shlex.quote("" if value is None else str(value))


def split(value: Any, separator: str | None = None, maxsplit: int = -1) -> list[str]:
    return str(value).split(separator, maxsplit)


_STYLES: dict[str, dict[str, str]] = {
    "plain": {"decoration": "# "},
    "erlang": {"decoration": "% "},
    "c": {"decoration": "// "},
    "cblock": {"beginning": "/*", "decoration": " * ", "end": " */"},
    "xml": {"beginning": "<!--", "decoration": " - ", "end": "-->"},
}


def comment(
    text: str,
    style: str = "plain",
    *,
    newline: str = "\n",
    beginning: str | None = None,
    prefix: str | None = None,
    prefix_count: int = 1,
    decoration: str | None = None,
    postfix: str | None = None,
    postfix_count: int = 1,
    end: str | None = None,
) -> str:
    """Text as a comment of a file: `style` is plain (#), c, cblock, xml or erlang; the rest says
    what stands before, around and after the lines."""
    if style not in _STYLES:
        raise ValueError(f"comment: style {style!r} is none of {', '.join(_STYLES)}")
    own = _STYLES[style]
    decoration = own["decoration"] if decoration is None else decoration
    beginning = own.get("beginning", "") if beginning is None else beginning
    end = own.get("end", "") if end is None else end
    prefix = decoration.rstrip() if prefix is None else prefix
    postfix = decoration.rstrip() if postfix is None else postfix
    limits.check_replace(text, newline, newline + decoration)
    limits.check_length(len(prefix + newline) * prefix_count)
    limits.check_length(len(postfix + newline) * postfix_count)
    before = prefix if prefix == newline or not prefix else prefix + newline
    body = decoration + text.replace(newline, newline + decoration)
    return "".join(
        (
            beginning + newline if beginning else "",
            before * prefix_count,
            body.replace(decoration + newline, decoration.rstrip() + newline),
            (newline + postfix) * postfix_count,
            newline + end if end else "",
        )
    )


def urlparts(value: str, query: str = "") -> Any:
    """`urlsplit`: the parts of a URL as a mapping, or one of them."""
    try:
        found = urlsplit(value)
        parts: dict[str, Any] = {
            name: getattr(found, name)
            for name in (
                *("fragment", "hostname", "netloc", "password", "path"),
                *("port", "query", "scheme", "username"),
            )
        }
    except (ValueError, AttributeError) as error:
        raise ValueError(f"urlsplit: {error}") from None
    if query and query not in parts:
        raise ValueError(f"urlsplit: {query!r} is none of {', '.join(parts)}")
    return parts[query] if query else parts


def is_uri(value: Any, schemes: Iterable[str] | None = None) -> bool:
    """Whether a text can be read as a URI, of one of the schemes if they are given."""
    try:
        found = urlsplit(value)
    except (ValueError, AttributeError, TypeError):
        return False
    return not schemes or found.scheme in schemes


def is_url(value: Any, schemes: Iterable[str] | None = None) -> bool:
    """Whether a URI names a machine (or is a file: URL)."""
    if not is_uri(value, schemes):
        return False
    found = urlsplit(value)
    return bool(found.netloc or found.scheme == "file")


def center(value: Any, width: int = 80) -> str:
    limits.check_length(width)
    return jinja.do_center(value, width)


def percent(value: Any, *values: Any, **named: Any) -> str:
    """`format`: Python's % with the values."""
    limits.check_percent(str(value), (*values, *named.values()))
    return jinja.do_format(value, *values, **named)


def indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    space = width if isinstance(width, str) else " " * min(width, limits.MAX_TEXT)
    limits.check_replace(value, "\n", "\n" + space)
    return jinja.do_indent(str(value), width, first, blank)


@pass_eval_context
def join(context: EvalContext, values: Any, d: str = "", attribute: Any = None) -> str:
    values = values if isinstance(values, str | Mapping) else list(values)
    limits.check_join(d, values)
    return str(jinja.sync_do_join(context, values, d, attribute))


@pass_eval_context
def replace(context: EvalContext, value: Any, old: str, new: str, count: int | None = None) -> str:
    limits.check_replace(value, old, new)
    return jinja.do_replace(context, str(value), old, new, count)


@pass_environment
def wordwrap(
    environment: Any,
    value: Any,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> str:
    text = str(value)
    limits.check_length((len(text) // max(1, width) + text.count("\n") + 1) * len(wrapstring or ""))
    limits.spend(len(text) // 100)
    return jinja.do_wordwrap(
        environment, text, width, break_long_words, wrapstring, break_on_hyphens
    )


def batch(value: Any, linecount: int, fill_with: Any = None) -> list[Any]:
    """Lists of `linecount` values each."""
    limits.check_count(linecount, "batch")
    return list(jinja.do_batch(value, linecount, fill_with))


def sliced(value: Any, slices: int, fill_with: Any = None) -> list[Any]:
    """`slice`: the values in as many lists as `slices` says."""
    limits.check_count(slices, "slice")
    return list(jinja.sync_do_slice(value, slices, fill_with))


FILTERS: dict[str, Callable[..., Any]] = {
    "batch": batch,
    "center": center,
    "comment": comment,
    "format": percent,
    "indent": indent,
    "join": join,
    "quote": quote,
    "replace": replace,
    "slice": sliced,
    "split": split,
    "urldecode": lambda value: unquote_plus(value),
    "urlsplit": urlparts,
    "wordwrap": wordwrap,
}
TESTS: dict[str, Callable[..., bool]] = {
    "uri": is_uri,
    "url": is_url,
    "urn": lambda value: is_uri(value, ["urn"]),
}
