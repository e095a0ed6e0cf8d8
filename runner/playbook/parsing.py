"""Jinja2's syntax trees: what can be told of a template without compiling it."""

from __future__ import annotations

from functools import lru_cache

import jinja2
from jinja2 import nodes

from runner.playbook.expressions import Environment

_EXPRESSIONS = (nodes.Expr, nodes.Output, nodes.Pair, nodes.Keyword, nodes.Operand)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The one that every template of this process is made with."""
    return Environment()


@lru_cache(maxsize=4096)
def parsed(text: str) -> nodes.Template:
    """The syntax tree of a template, not to be changed.

    Raises:
        jinja2.TemplateError: it has none.
    """
    return environment().parse(text)


def is_sound(condition: str) -> bool:
    """Whether parsing alone shows that a condition is right; else compiling says what is wrong."""
    depth = 0
    for sign in condition:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return False
    try:
        tree = parsed(in_braces(condition))
    except jinja2.TemplateError:
        return False
    return only_expression(tree) is not None and is_checked_by_parsing(tree)


def is_checked_by_parsing(tree: nodes.Template) -> bool:
    """Whether compiling can find nothing more: only expressions whose filters and tests exist.

    Compiling takes ten times as long, and a playbook of 500 tasks has a thousand templates.
    """
    known = environment()
    for node in tree.find_all(nodes.Node):
        if isinstance(node, nodes.Filter) and node.name not in known.filters:
            return False
        if isinstance(node, nodes.Test) and node.name not in known.tests:
            return False
        if not isinstance(node, _EXPRESSIONS):
            return False
    return True


def only_expression(tree: nodes.Template) -> nodes.Expr | None:
    """The expression of "{{ expression }}"; None where anything stands beside it."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


def in_braces(condition: str) -> str:
    """A condition as the template that gives its value."""
    return "{{ (" + condition + ") }}"
