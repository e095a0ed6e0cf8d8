"""The Jinja2 environment: what an expression may reach, and how much it may use.

Keys of a mapping win over its methods (`facts.items` is the fact called items), undefined names
are errors when used, and work is counted: loops, calls and the length of texts have limits far
above any configuration file, so that a slip does not hang a run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing, pass_context

from runner.playbook import filters
from runner.secrets.value import SecretError

MAX_TEXT = 10_000_000
"""Characters one value or file may come to."""
MAX_STEPS = 1_000_000
"""Loop rounds and calls of one rendering."""


class NotYetKnown(Exception):
    """A value that exists only after a look or a change; raised by the engine's variables."""


class LimitReached(Exception):
    """A template that would take too long or too much memory."""


class Strict(jinja2.StrictUndefined):
    """An undefined name: every use of it is an error that names it.

    What stands below it is undefined too, so that `a.b.c | default(1)` works as in Ansible.
    """

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> Any:
        return self


class Deferred(jinja2.StrictUndefined):
    """A variable whose own rendering failed: the error comes when, and only when, it is used."""

    __slots__ = ("_cause",)

    def __init__(self, cause: Exception, name: str) -> None:
        super().__init__(name=name)
        self._cause = cause

    def raise_cause(self, *_: Any, **__: Any) -> Any:
        raise self._cause

    _fail_with_undefined_error = raise_cause
    __getattr__ = raise_cause
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = raise_cause
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = raise_cause
    __mod__ = __rmod__ = __pos__ = __neg__ = __call__ = __getitem__ = raise_cause
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __complex__ = raise_cause
    __pow__ = __rpow__ = __iter__ = __str__ = __len__ = raise_cause
    __eq__ = __ne__ = __bool__ = __hash__ = __contains__ = raise_cause


def is_known(value: Any) -> bool:
    """Whether a value is defined. Raises `NotYetKnown` where that cannot be told yet, and
    `SecretError` for a secret that cannot be read: it is defined, and a default is not it."""
    if isinstance(value, Deferred):
        for cause in (value._cause, value._cause.__cause__):
            if isinstance(cause, NotYetKnown | SecretError):
                raise cause
    return not isinstance(value, Undefined)


class Variables(Mapping[str, Any]):
    """The variables as Jinja2 sees them: looked up when used, rendered once, errors deferred."""

    def __init__(self, variables: Mapping[str, Any], finish: Callable[[str, Any], Any]) -> None:
        self.variables = variables
        self.finish = finish
        self.done: dict[str, Any] = {}
        self.steps = 0

    def __contains__(self, name: object) -> bool:
        return name in self.variables or name in filters.GLOBALS

    def __getitem__(self, name: str) -> Any:
        if name not in self.variables:
            return filters.GLOBALS[name]
        if name not in self.done:
            try:
                self.done[name] = self.finish(name, self.variables[name])
            except Exception as error:
                # Jinja2 looks up every name of a block first, also those of a branch not taken.
                return Deferred(error, name)
        return self.done[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        return [*self.variables, *filters.GLOBALS]


class _Context(Context):
    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        return self.parent.get(key, missing)

    def step(self, count: int = 1) -> None:
        """Count work done by this rendering."""
        variables = self.parent
        if isinstance(variables, Variables):
            variables.steps += count
            if variables.steps > MAX_STEPS:
                raise LimitReached(f"more than {MAX_STEPS} loop rounds and calls")


@pass_context
def _counted(context: _Context, items: Iterable[Any]) -> Iterator[Any]:
    """The items of a `for`, counted."""
    for item in items:
        context.step()
        yield item


def _concatenated(parts: Iterable[Any]) -> str:
    """The `~` operator with a limit on what it makes."""
    texts = [str(part) for part in parts]
    if sum(map(len, texts)) > MAX_TEXT:
        raise LimitReached(f"a text longer than {MAX_TEXT} characters")
    return "".join(texts)


@pass_context
def _default(context: Context, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    if not is_known(value) or (boolean and not value):
        return default_value
    return value


class Environment(ImmutableSandboxedEnvironment):
    """See the module."""

    context_class = _Context
    intercepted_binops = frozenset(["*", "**", "+", "%"])

    def __init__(self) -> None:
        super().__init__(
            undefined=Strict,
            keep_trailing_newline=True,
            trim_blocks=True,
            autoescape=False,
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
            cache_size=0,
            # Folding constants while compiling would get around the limits.
            optimized=False,
        )
        self.globals.clear()
        self.filters.update(filters.FILTERS)
        self.filters.update({"gpurun counted": _counted, "gpurun joined": _concatenated})
        self.filters["default"] = self.filters["d"] = _default
        self.filters["mandatory"] = _mandatory
        for name in ("center", "format", "indent"):
            self.filters[name] = _limited(self.filters[name])
        self.tests.update(filters.TESTS)
        self.tests["defined"] = is_known
        self.tests["undefined"] = lambda value: not is_known(value)

    def expression(self, text: str) -> nodes.Expr:
        """The syntax tree of one expression without braces."""
        parser = self._parser_of(text)
        if parser.stream.eos:
            raise jinja2.TemplateSyntaxError("the expression is empty", 1)
        tree: nodes.Expr = parser.parse_expression()
        if not parser.stream.eos:
            rest = parser.stream.current.value
            raise jinja2.TemplateSyntaxError(f"{rest!r} is not expected here", 1)
        tree.set_environment(self)
        return tree

    def _parser_of(self, text: str) -> Any:
        from jinja2.parser import Parser

        return Parser(self, text, state="variable")

    def compiled(self, tree: nodes.Template, *, gives_value: bool) -> jinja2.Template:
        """A template of a syntax tree, with its loops and joins counted."""
        tree.set_environment(self)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = self._filtered(cast(nodes.Expr, loop.iter), "gpurun counted")
        _replace_concatenations(tree, self)
        template = self.from_string(tree)
        template.gives_value = gives_value  # type: ignore[attr-defined]
        return template

    def _filtered(self, node: nodes.Expr, name: str) -> nodes.Filter:
        made = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        made.set_environment(self)
        return made

    def joined(self, parts: Iterable[str]) -> str:
        """The pieces of a rendering as one text, within the limit."""
        pieces, size = [], 0
        for part in parts:
            pieces.append(part)
            size += len(part)
            if size > MAX_TEXT:
                raise LimitReached(f"a text longer than {MAX_TEXT} characters")
        return "".join(pieces)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            return self._of_mapping(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping):
            return self._of_mapping(obj, argument)
        return super().getitem(obj, argument)

    def _of_mapping(self, obj: Mapping[Any, Any], key: Any) -> Any:
        try:
            return obj[key]
        except (KeyError, TypeError):
            pass
        if isinstance(key, int) and str(key) in obj:
            return obj[str(key)]
        if isinstance(key, str):
            found = super().getattr(obj, key)
            if not isinstance(found, Undefined):
                return found
            if key.startswith("_"):
                return found
        return self.undefined(_no_key(obj, key))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_product(left, right)
        elif operator == "**":
            _check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "+" and isinstance(left, str | list) and isinstance(right, str | list):
            _check_length(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        context.step()
        if isinstance(getattr(obj, "__self__", None), str):
            for number in (*args, *kwargs.values()):
                if isinstance(number, int):
                    _check_length(number)
        return super().call(context, obj, *args, **kwargs)


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja2 whose widths are checked."""

    def run(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            _check_format(value)
        for number in (*args, *kwargs.values()):
            if isinstance(number, int):
                _check_length(number)
        return function(value, *args, **kwargs)

    return run


def _mandatory(value: Any, message: str = "") -> Any:
    if not is_known(value):
        if message:
            raise ValueError(message)
        str(value)
    return value


def _no_key(obj: Mapping[Any, Any], key: Any) -> str:
    import difflib

    try:
        known = [str(name) for name in obj]
    except Exception:
        known = []
    near = difflib.get_close_matches(str(key), known, 1)
    if near:
        return f"there is no key {key!r}; did you mean {near[0]!r}?"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"there is no key {key!r}; keys are: {shown or 'none'}"


def _replace_concatenations(node: nodes.Node, environment: Environment) -> None:
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    value[index] = _without_concatenation(item, environment)
        elif isinstance(value, nodes.Node):
            setattr(node, name, _without_concatenation(value, environment))


def _without_concatenation(node: nodes.Node, environment: Environment) -> nodes.Node:
    _replace_concatenations(node, environment)
    if not isinstance(node, nodes.Concat):
        return node
    parts = nodes.List(node.nodes, lineno=node.lineno)
    parts.set_environment(environment)
    return environment._filtered(parts, "gpurun joined")


def _check_length(length: int) -> None:
    if length > MAX_TEXT:
        raise LimitReached(f"a text or list longer than {MAX_TEXT}")


def _check_product(left: Any, right: Any) -> None:
    for thing, times in ((left, right), (right, left)):
        if isinstance(thing, str | list | tuple) and isinstance(times, int):
            _check_length(len(thing) * times)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))


def _check_bits(bits: int) -> None:
    if bits > 4096:
        raise LimitReached("a number of more than 4096 bits")


def _check_format(text: str) -> None:
    for number in re.findall(r"%[^a-zA-Z%]*?(\d{5,})", text):
        _check_length(int(number))
