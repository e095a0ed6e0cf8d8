"""The Jinja2 environment: what an expression may reach, and how much it may use.

Keys of a mapping win over its methods (`facts.items` is the fact called items), undefined names
are errors when used, and work is counted (`limits`): every filter, test, call and operator that
makes a text or list is checked before it makes one.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing, pass_context

from runner.playbook import limits, syntax
from runner.playbook.filters import FILTERS, TESTS, absent
from runner.playbook.functions import FUNCTIONS
from runner.playbook.lookups import LOOKUPS, OWN, Lookup
from runner.secrets.value import SecretError

_ABSENT_OF_JINJA = ("random",)
"""Filters of Jinja2 that are not offered."""


class NotYetKnown(Exception):
    """A value that exists only after a look or a change; raised by the engine's variables."""


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

    def __repr__(self) -> str:
        """An error, too: a list that holds the name may be written out."""
        return str(self)


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
    __pow__ = __rpow__ = __iter__ = __str__ = __repr__ = __len__ = raise_cause
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
    """The variables as Jinja2 sees them: looked up when used, rendered once, errors deferred.

    Args:
        finish: renders the value of a name.
        render_file: renders a template file: its text, its name, and further variables.
    """

    def __init__(
        self,
        variables: Mapping[str, Any],
        finish: Callable[[str, Any], Any],
        render_file: Callable[[str, str, Mapping[str, Any]], str],
    ) -> None:
        self.variables = variables
        self.finish = finish
        self.render_file = render_file
        self.done: dict[str, Any] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.variables or name in FUNCTIONS

    def __getitem__(self, name: str) -> Any:
        if name not in self.variables:
            return FUNCTIONS[name]
        if name not in self.done:
            try:
                self.done[name] = self.finish(name, self.variables[name])
            except Exception as error:
                # `default` and `is defined` may take it, and see what kind of error it is.
                return Deferred(error, name)
        return self.done[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        return [name for name in (*self.variables, *FUNCTIONS) if name != OWN]


class _Context(Context):
    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        return self.parent.get(key, missing)


@pass_context
def _variable(context: Context, name: str) -> Any:
    """The value of a variable; see `Environment._look_up_late`."""
    value = context.parent.get(name, missing)
    return context.environment.undefined(name=name) if value is missing else value


def _counted(items: Iterable[Any], characters: int) -> Iterator[Any]:
    """The items of a `for`, counted, with the text that each round writes."""
    for item in items:
        limits.spend(1, characters)
        yield item


def _concatenated(parts: Iterable[Any]) -> str:
    """The `~` operator with a limit on what it makes."""
    texts = [part if isinstance(part, str) else _text(part) for part in parts]
    limits.check_length(sum(map(len, texts)))
    return cast(str, limits.spent_on("".join(texts)))


def _text(value: Any) -> str:
    limits.weight(value)
    return str(value)


def _weighed(value: Any) -> Any:
    """A list or mapping that a template writes: no larger than a file may be."""
    limits.weight(value)
    return value


def _written(value: Any) -> Any:
    """A value that is about to be written out."""
    limits.spend(0, len(value) if isinstance(value, str) else limits.weight(value))
    return value


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test that is counted, and takes no undefined and no endless values."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        limits.spend()
        for value in (*args, *kwargs.values()):
            if isinstance(value, Undefined):
                str(value)
            limits.weight(value)
        return limits.spent_on(function(*args, **kwargs))

    return run


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    if not is_known(value) or (boolean and not value):
        return default_value
    return value


def _mandatory(value: Any, msg: str = "") -> Any:
    if not is_known(value):
        if msg:
            raise ValueError(msg)
        str(value)
    return value


_FOR_UNDEFINED: dict[str, Callable[..., Any]] = {
    "d": _default,
    "default": _default,
    "mandatory": _mandatory,
}
"""Filters that take undefined values; the tests are `defined` and `undefined`."""


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
            finalize=_written,
        )
        self.globals.clear()
        filters = {**cast(dict[str, Callable[..., Any]], self.filters), **FILTERS}
        for name in _ABSENT_OF_JINJA:
            del filters[name]
        self.filters = {name: _bounded(function) for name, function in filters.items()}
        self.filters.update(_FOR_UNDEFINED)
        tests = {**cast(dict[str, Callable[..., Any]], self.tests), **TESTS}
        self.tests = {name: _bounded(test) for name, test in tests.items()}
        self.tests["defined"] = is_known
        self.tests["undefined"] = lambda value: not is_known(value)
        for names in (self.filters, self.tests):
            qualified = {p + name: names[name] for p in absent.PREFIXES for name in names}
            names.update(cast(Any, qualified))
        self.filters["gpurun counted"] = _counted
        self.filters["gpurun joined"] = _concatenated
        self.filters["gpurun variable"] = _variable
        self.filters["gpurun weighed"] = _weighed

    def value(self, text: str) -> nodes.Template:
        r"""The syntax tree of a value of YAML. As in Ansible backslashes in texts inside `{{ }}`
        are the characters that they are, because YAML has already given them their meaning:
        '(\d+)' is a pattern, not an unknown escape. (In conditions and template files Jinja2's own
        rule holds: '\\d'.)"""
        if "\\" in text and "{{" in text:
            text = "".join(self._with_backslashes(text))
        return self.parse(text)

    def _with_backslashes(self, text: str) -> Iterator[str]:
        inside = False
        for _, kind, token in self.lex(text):
            if kind in ("variable_begin", "variable_end"):
                inside = kind == "variable_begin"
            yield token.replace("\\", "\\\\") if inside and kind == "string" else token

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

    def check(self, tree: nodes.Template) -> None:
        """Raises `syntax.NotOffered` for a filter, test, function or lookup there is not."""
        syntax.check_names(tree, self.filters, self.tests, LOOKUPS)

    def compiled(self, tree: nodes.Template, *, gives_value: bool) -> jinja2.Template:
        """A template of a syntax tree, with its loops, joins and lists counted.

        Raises:
            jinja2.TemplateSyntaxError: it uses a filter, test, function or lookup there is not.
        """
        self.check(tree)
        syntax.tell_lookups_their_names(tree, self)
        for loop in list(syntax.walk(tree)):
            if isinstance(loop, nodes.For):
                size = sum(len(text.data) for text in loop.find_all(nodes.TemplateData))
                loop.iter = self._filtered(loop.iter, "gpurun counted", size)
        self._look_up_late(tree)
        _count_values(tree, self)
        try:
            template = self.from_string(tree)
        except SyntaxError as error:
            raise jinja2.TemplateSyntaxError(f"nested too deeply ({error.msg})", 1) from None
        template.gives_value = gives_value  # type: ignore[attr-defined]
        return template

    def _look_up_late(self, tree: nodes.Template) -> None:
        """Have variables looked up where they are used. Jinja2 would look up all of a block first,
        and so run the lookups, and read the facts, of a branch that is not taken."""
        made_here = syntax.stored(tree) | _NAMES_OF_JINJA
        for parent in list(syntax.walk(tree)):
            for field in parent.fields:
                value = getattr(parent, field, None)
                if isinstance(value, nodes.Name):
                    setattr(parent, field, self._looked_up(value, made_here))
                elif isinstance(value, list):
                    value[:] = [
                        self._looked_up(item, made_here) if isinstance(item, nodes.Name) else item
                        for item in value
                    ]

    def _looked_up(self, name: nodes.Name, made_here: set[str]) -> nodes.Node:
        if name.ctx != "load" or name.name in made_here:
            return name
        text = nodes.Const(name.name, lineno=name.lineno)
        text.set_environment(self)
        return self._filtered(text, "gpurun variable")

    def _filtered(self, node: nodes.Node, name: str, *arguments: int) -> nodes.Filter:
        given: list[nodes.Expr] = [nodes.Const(value, lineno=node.lineno) for value in arguments]
        inner = cast(nodes.Expr, node)
        made = nodes.Filter(inner, name, given, [], None, None, lineno=node.lineno)
        made.set_environment(self)
        return made

    def joined(self, parts: Iterable[str]) -> str:
        """The pieces of a rendering as one text, within the limit."""
        pieces, size = [], 0
        for part in parts:
            pieces.append(part)
            size += len(part)
            limits.check_length(size)
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
        if isinstance(key, str) and (key.startswith("_") or key in _METHODS):
            return super().getattr(obj, key)
        return self.undefined(_no_key(obj, key))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # Bytes can grow as texts can, and no expression needs them; a lookup is only called.
        return not isinstance(obj, bytes | Lookup) and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            limits.check_product(left, right)
        elif operator == "**":
            limits.check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            limits.check_percent(left, right)
        elif operator == "+" and isinstance(left, str | list | tuple):
            limits.check_length(len(left) + (len(right) if hasattr(right, "__len__") else 0))
        return limits.spent_on(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        limits.spend()
        if isinstance(obj, Lookup):
            given = {k: v for k, v in kwargs.items() if k not in ("_loop_vars", "_block_vars")}
            for value in (*args, *given.values()):
                if isinstance(value, Undefined):
                    str(value)
            return limits.spent_on(obj.run(context.parent, args, given))
        for value in (*args, *kwargs.values()):
            limits.weight(value)
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | int | float):
            limits.check_method(str(owner), method.__name__, args, kwargs)
        return limits.spent_on(super().call(context, obj, *args, **kwargs))


_METHODS = frozenset(dir(dict))
_NAMES_OF_JINJA = {"caller", "kwargs", "loop", "self", "super", "varargs"}
"""Names that Jinja2 gives a meaning in loops, macros and blocks."""


def _no_key(obj: Mapping[Any, Any], key: Any) -> str:
    try:
        known = [str(name) for name in obj]
    except Exception:
        known = []
    near = difflib.get_close_matches(str(key), known, 1)
    if near:
        return f"there is no key {key!r}; did you mean {near[0]!r}?"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"there is no key {key!r}; keys are: {shown or 'none'}"


def _count_values(node: nodes.Node, environment: Environment) -> None:
    """Have what the tree's concatenations, lists and mappings make counted."""
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    value[index] = _counted_value(item, environment)
        elif isinstance(value, nodes.Node):
            setattr(node, name, _counted_value(value, environment))


def _counted_value(node: nodes.Node, environment: Environment) -> nodes.Node:
    _count_values(node, environment)
    if isinstance(node, nodes.Concat):
        parts = nodes.List(node.nodes, lineno=node.lineno)
        parts.set_environment(environment)
        return environment._filtered(parts, "gpurun joined")
    made = isinstance(node, nodes.List | nodes.Dict)
    if made or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        inner = list(node.iter_child_nodes())
        if not all(isinstance(child, nodes.Const | nodes.Pair) for child in inner):
            return environment._filtered(node, "gpurun weighed")
    return node
