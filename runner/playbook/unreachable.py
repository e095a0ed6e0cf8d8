"""Conditions that can never hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import jinja2
from jinja2 import nodes

from runner.errors import Problem
from runner.playbook.document import Task
from runner.playbook.parsing import in_braces, parsed


def unreachable(task: Task) -> Problem | None:
    """Why a task never runs, where its conditions alone tell that."""
    parts = [part for text in task.when for part in _parts(text)]
    for part in parts:
        if _constant(part) is False:
            return _never(task, "the condition is always false")
    for one, other in combinations(parts, 2):
        if _is_opposite(one, other) or _is_opposite(other, one) or _differ(one, other):
            return _never(task, "its conditions contradict each other")
    return None


def _never(task: Task, why: str) -> Problem:
    shown = " and ".join(task.when)
    hint = f"when: {shown}. Correct it, or remove the task."
    return Problem(f"the task never runs: {why}", task.origin, hint, "warning")


def _parts(text: str) -> Iterator[nodes.Expr]:
    """What must hold together: the sides of each `and`."""
    try:
        output = parsed(in_braces(text)).body[0]
    except jinja2.TemplateError:
        return
    if isinstance(output, nodes.Output) and isinstance(output.nodes[0], nodes.Expr):
        yield from _sides(output.nodes[0])


def _sides(node: nodes.Expr) -> Iterator[nodes.Expr]:
    if isinstance(node, nodes.And):
        yield from _sides(node.left)
        yield from _sides(node.right)
    else:
        yield node


def _constant(node: nodes.Expr) -> object:
    """The value of an expression without variables, else None."""
    if any(True for _ in node.find_all((nodes.Name, nodes.Call))):
        return None
    try:
        return node.as_const()
    except Exception:  # Impossible, or whatever an operator says of such operands
        return None


def _is_opposite(one: nodes.Expr, other: nodes.Expr) -> bool:
    return isinstance(other, nodes.Not) and other.node == one


def _differ(one: nodes.Expr, other: nodes.Expr) -> bool:
    """Whether both say `x == constant`, with the same x and different constants."""
    left, right = _equality(one), _equality(other)
    return bool(left and right and left[0] == right[0] and left[1] != right[1])


def _equality(node: nodes.Expr) -> tuple[nodes.Expr, object] | None:
    if not isinstance(node, nodes.Compare) or len(node.ops) != 1 or node.ops[0].op != "eq":
        return None
    value = node.ops[0].expr
    return (node.expr, value.value) if isinstance(value, nodes.Const) else None
