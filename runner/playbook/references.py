"""Which variables a template or a condition needs, as far as its text tells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import jinja2
from jinja2 import nodes

from runner.playbook.parsing import parsed

_ASKING_FILTERS = ("default", "d")
_ASKING_TESTS = ("defined", "undefined")


@dataclass(frozen=True, slots=True)
class References:
    """`used`: names whose value is needed. `asked`: names that may be undefined, because the text
    asks for that (`is defined`) or says what holds then (`default`)."""

    used: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()


@lru_cache(maxsize=4096)
def references(text: str) -> References:
    """Of a template. Names that it sets itself (`for`, `set`, macros) are neither."""
    try:
        tree = parsed(text)
    except jinja2.TemplateError:
        return References()
    used, asked, own = set(), set(), {"caller", "loop", "varargs"}
    for node in tree.find_all((nodes.Name, nodes.Macro, nodes.Filter, nodes.Test)):
        if isinstance(node, nodes.Filter | nodes.Test):
            known = _ASKING_FILTERS if isinstance(node, nodes.Filter) else _ASKING_TESTS
            if node.name in known:
                asked.add(_root(node.node))
        elif isinstance(node, nodes.Name) and node.ctx == "load":
            used.add(node.name)
        elif isinstance(node, nodes.Name | nodes.Macro):
            own.add(node.name)
    return References(frozenset(used - asked - own), frozenset(asked))


def _root(node: nodes.Node | None) -> str:
    """The variable at the beginning of `a.b[0].c`."""
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else ""
