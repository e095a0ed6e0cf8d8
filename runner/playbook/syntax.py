"""Expressions as syntax trees: which names they use, and whether what they call is offered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import cast

import jinja2
from jinja2 import nodes

from runner.playbook.filters.absent import FUNCTIONS, short_name, why_absent

LOOKUP_FUNCTIONS = ("lookup", "query", "q")
NAMES_ARGUMENT = "gpurun_names"
"""The argument that tells a lookup which names its arguments use; added while compiling."""

_TAKES_FILTER = {"map": 0}
_TAKES_TEST = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}


class NotOffered(jinja2.TemplateAssertionError):
    """A filter, test, function or lookup that there is not, with what to do instead."""

    def __init__(self, message: str, hint: str, line: int) -> None:
        super().__init__(message, line)
        self.hint = hint


def walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    """The tree's nodes as they are written, itself first. (Jinja2's own `find_all` is slower.)"""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        inner: list[nodes.Node] = []
        for name in node.fields:
            value = getattr(node, name, None)
            if isinstance(value, nodes.Node):
                inner.append(value)
            elif isinstance(value, list):
                inner += [item for item in value if isinstance(item, nodes.Node)]
        waiting += reversed(inner)


def check_names(
    tree: nodes.Node,
    filters: Collection[str],
    tests: Collection[str],
    lookups: Collection[str],
) -> None:
    """Raises `NotOffered` for the first name of the tree that is not offered."""
    known: Mapping[str, Collection[str]] = {
        "filter": filters,
        "test": tests,
        "lookup": lookups,
        "function": (*LOOKUP_FUNCTIONS, "dict", "namespace", "range"),
    }
    for node in walk(tree):
        for kind, name in _called(node):
            wanted = short_name(name) if kind == "lookup" else name
            if wanted not in known[kind] and (kind != "function" or name not in stored(tree)):
                message, hint = why_absent(kind, name, known[kind])
                raise NotOffered(message, hint, node.lineno)


def _called(node: nodes.Node) -> Iterator[tuple[str, str]]:
    """What a node calls by a name that is written down: kinds and names."""
    if isinstance(node, nodes.Test):
        yield "test", node.name
    elif isinstance(node, nodes.Filter):
        yield "filter", node.name
        short = short_name(node.name)
        for kind, at in (("filter", _TAKES_FILTER.get(short)), ("test", _TAKES_TEST.get(short))):
            name = None if at is None else _constant(node.args, at)
            if name is not None:
                yield kind, name
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        if node.node.name in LOOKUP_FUNCTIONS:
            name = _constant(node.args, 0)
            if name is not None:
                yield "lookup", name
        elif node.node.name in FUNCTIONS:
            yield "function", node.node.name


def _constant(arguments: list[nodes.Expr], at: int) -> str | None:
    if at < len(arguments):
        value = getattr(arguments[at], "value", None)
        if isinstance(arguments[at], nodes.Const) and isinstance(value, str):
            return value
    return None


def names(tree: nodes.Node) -> set[str]:
    """The variables that a tree uses. `lookup('vars', 'x')` uses x. What cannot be told from the
    text (a computed name, a template file) stands as the call itself, which is no variable."""
    found = {n.name for n in walk(tree) if isinstance(n, nodes.Name) and n.ctx == "load"}
    for call in _lookups(tree):
        kind = short_name(_constant(call.args, 0) or "")
        if kind == "vars":
            for index in range(1, len(call.args)):
                found.add(_constant(call.args, index) or "lookup('vars', ...)")
        elif kind in ("", "template"):
            found.add(f"lookup('{kind}', ...)" if kind else "lookup(...)")
    return found - set(LOOKUP_FUNCTIONS)


def _lookups(tree: nodes.Node) -> Iterator[nodes.Call]:
    for call in walk(tree):
        called = call.node if isinstance(call, nodes.Call) else None
        if isinstance(called, nodes.Name) and called.name in LOOKUP_FUNCTIONS:
            yield cast(nodes.Call, call)


def stored(tree: nodes.Node) -> set[str]:
    """Names that the template itself gives a value (set, for, macro)."""
    every = list(walk(tree))
    macros = {node.name for node in every if isinstance(node, nodes.Macro)}
    return macros | {
        node.name
        for node in every
        if isinstance(node, nodes.Name) and node.ctx in ("store", "param")
    }


def tell_lookups_their_names(tree: nodes.Template, environment: jinja2.Environment) -> None:
    """Give every call of a lookup the names that its arguments use, so that it can see where they
    come from. An argument that the template itself made may hold what any of its names hold."""
    calls = list(_lookups(tree))
    made = stored(tree) if calls else set()
    everything = names(tree) - made if calls else set()
    for call in calls:
        used: set[str] = set()
        for argument in (*call.args, *(k.value for k in call.kwargs)):
            used |= names(argument)
        if call.dyn_args or call.dyn_kwargs or used & made:
            used = everything | (used - made)
        if any(keyword.key == NAMES_ARGUMENT for keyword in call.kwargs):
            raise jinja2.TemplateAssertionError(f"no argument {NAMES_ARGUMENT}", call.lineno)
        told = nodes.Keyword(
            NAMES_ARGUMENT, nodes.Const(tuple(sorted(used)), lineno=call.lineno), lineno=call.lineno
        )
        told.set_environment(environment)
        call.kwargs.append(told)
