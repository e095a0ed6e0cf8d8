"""Jinja2's syntax trees: what can be told of a template without compiling it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import jinja2
from jinja2 import nodes

from runner.playbook.expressions import Environment
from runner.playbook.filters.absent import short_name

_EXPRESSIONS = (nodes.Expr, nodes.Output, nodes.Pair, nodes.Keyword, nodes.Operand)
_ASKING = {"default", "d", "defined", "undefined"}
_SHORT = 300
"""Characters of a template that cannot be nested too deeply to be compiled."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The one that every template of this process is made with."""
    return Environment()


@dataclass(slots=True)
class Parsed:
    """A template's syntax tree, not to be changed, and what one walk through it tells.

    Args:
        dotted: variables with what is taken of them: "facts.gpus" of `facts.gpus[0].uuid`, "size"
            where nothing is taken.
        used: variables whose value is needed.
        asked: variables that may be undefined, because the text asks for that (`is defined`) or
            says what holds then (`default`).
        calls: it calls filters, tests or functions, which have to be offered.
        is_plain: it is short and has only expressions. Compiling, which takes ten times as long
            as parsing, can find nothing wrong then but what it calls.
    """

    tree: nodes.Template
    dotted: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    calls: bool = False
    is_plain: bool = True


@lru_cache(maxsize=4096)
def parsed(text: str) -> Parsed:
    """What a template's text tells.

    Raises:
        jinja2.TemplateError: it has no syntax tree.
    """
    found = Parsed(environment().value(text), is_plain=len(text) <= _SHORT)
    own = {"caller", "loop", "varargs"}
    ahead: list[nodes.Node] = list(_below(found.tree))
    while ahead:
        node = ahead.pop()
        found.is_plain = found.is_plain and isinstance(node, _EXPRESSIONS)
        if isinstance(node, nodes.Name):
            if node.ctx == "load":
                found.used.add(node.name)
                found.dotted.add(node.name)
            else:
                own.add(node.name)
        elif isinstance(node, nodes.Getattr | nodes.Getitem) and (taken := _taken(node)):
            found.used.add(taken[0])
            found.dotted.add(".".join(taken))
        else:
            _note(node, found, own)
            ahead.extend(_below(node))
    found.used -= found.asked | own
    return found


def _note(node: nodes.Node, found: Parsed, own: set[str]) -> None:
    """What filters, tests, calls and macros tell."""
    if isinstance(node, nodes.Macro):
        own.add(node.name)
    elif isinstance(node, nodes.Filter | nodes.Test | nodes.Call):
        found.calls = True
        if not isinstance(node, nodes.Call) and short_name(node.name) in _ASKING:
            found.asked.add(_root(node.node))


def _below(node: nodes.Node) -> Iterator[nodes.Node]:
    """The nodes right below (as `iter_child_nodes`, which takes three times as long)."""
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, nodes.Node):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, nodes.Node))


def _taken(node: nodes.Getattr | nodes.Getitem) -> tuple[str, str] | None:
    """The variable and the name of what is taken of it, where both stand there."""
    if not isinstance(node.node, nodes.Name):
        return None
    key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
    return (node.node.name, key) if isinstance(key, str) else None


def _root(node: nodes.Node | None) -> str:
    """The variable at the beginning of `a.b[0].c`."""
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else ""


def is_sound(condition: str) -> bool:
    """Whether parsing alone shows that a condition is right; else compiling says what is wrong."""
    depth = 0
    for sign in condition:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return False
    try:
        return is_checked(text := in_braces(condition)) and bool(only_expression(parsed(text).tree))
    except jinja2.TemplateError:
        return False


def is_checked(text: str) -> bool:
    """Whether compiling a template could find nothing more than this does.

    Raises:
        jinja2.TemplateError: it has no tree, or calls what is not offered.
    """
    found = parsed(text)
    if found.calls:
        environment().check(found.tree)
    return found.is_plain


def only_expression(tree: nodes.Template) -> nodes.Expr | None:
    """The expression of "{{ expression }}"; None where anything stands beside it."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


def in_braces(condition: str) -> str:
    """A condition as the template that gives its value."""
    return "{{ (" + condition + ") }}"
