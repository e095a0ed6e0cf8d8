"""Jinja2 expressions: sandboxed, strict, native types, with messages that name the cure.

What is a template: text handed to `render`, `holds` or `render_text` directly, and text of the
user's files wherever it is reached (`TemplateText`). Every other string is data, so nothing that
a host printed is ever evaluated, at any depth. Variables are looked up lazily and only when an
expression uses them; a variable that holds templates is rendered first, once per call.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes

from runner.errors import Origin, Problem
from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.expressions import LimitReached, NotYetKnown, Variables
from runner.playbook.parsing import environment as _environment
from runner.playbook.parsing import (
    in_braces,
    is_checked_by_parsing,
    is_sound,
    only_expression,
    parsed,
)
from runner.playbook.source import TEMPLATE_MARK
from runner.secrets.redact import KNOWN
from runner.secrets.value import Secret, SecretError, Unread

__all__ = [
    "NotYetKnown",
    "TemplateProblem",
    "check",
    "check_condition",
    "holds",
    "names",
    "render",
    "render_text",
    "source",
]


class TemplateProblem(Exception):
    """A template that cannot be rendered: undefined name, syntax, sandbox, or a filter's error."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def source(value: Any, origin: Origin | None = None) -> Any:
    """Plain data from a user (such as `-e`) as a source of templates, at any depth."""
    if isinstance(value, str) and not isinstance(value, TemplateText | Secret):
        return TemplateText(value, origin) if TEMPLATE_MARK.search(value) else value
    if isinstance(value, Mapping):
        made = {key: source(item, origin) for key, item in value.items()}
        return Map(made, getattr(value, "origin", origin), getattr(value, "origins", None))
    if isinstance(value, list):
        items = [source(item, origin) for item in value]
        return Seq(items, getattr(value, "origin", origin), getattr(value, "origins", None))
    return value


def render(value: Any, variables: Mapping[str, Any], origin: Origin | None) -> Any:
    """`value` with its templates evaluated; mappings and lists keep their origins.

    Args:
        value: text, `Map`, `Seq` or plain data. "{{ expr }}" alone gives the expression's own
            type, a template amid other text gives text.
        variables: what names stand for. Values may be mappings that raise `NotYetKnown`.
        origin: where the value was written, for messages.

    Raises:
        TemplateProblem: with the place and the cure.
        NotYetKnown: as the variables raised it.
    """
    if isinstance(value, str) and not isinstance(value, Secret) and TEMPLATE_MARK.search(value):
        value = TemplateText(value, getattr(value, "origin", None) or origin)
    return _Scope(variables, origin).finish(value)


def holds(condition: str, variables: Mapping[str, Any], origin: Origin | None) -> bool:
    """Whether a condition (an expression without braces) is true.

    Raises:
        TemplateProblem: also when the result is not a boolean: "false" as text is not false.
        NotYetKnown: as the variables raised it.
    """
    problem = check_condition(condition, origin)
    if problem:
        raise TemplateProblem(problem)
    scope = _Scope(variables, origin)
    value = scope.guarded(lambda: scope.native(_compiled_expression(condition)), condition, origin)
    if isinstance(value, bool):
        return value
    raise TemplateProblem(_not_boolean(condition, value, origin))


def render_text(text: str, variables: Mapping[str, Any], origin: Origin | None, name: str) -> str:
    """A template file's text, rendered. Whitespace as in Ansible: a block's newline is dropped,
    the last newline of the file is kept.

    Args:
        name: the file, for messages; lines are counted in it.
    """
    where = Origin(name, 1)
    scope = _Scope(variables, where)

    def run() -> str:
        return scope.text(_compiled_file(text))

    result: str = scope.guarded(run, text, where, called_from=origin, in_file=True)
    return result


def names(value: Any) -> set[str]:
    """Dotted references used in the templates of `value`, like "facts.gpus" and "size".

    Of `a.b.c` the first two parts are given, and `a` alone where nothing follows.
    """
    found: set[str] = set()
    for text in texts(value):
        found |= _names_in(str(text))
    return found


@lru_cache(maxsize=4096)
def _names_in(text: str) -> frozenset[str]:
    try:
        return frozenset(_references(parsed(text)))
    except jinja2.TemplateError:
        return frozenset()


def condition_names(condition: str) -> set[str]:
    """As `names`, for a condition."""
    return names(in_braces(condition))


def check(text: str, origin: Origin | None, name: str = "") -> Problem | None:
    """What is wrong with a template's syntax, filters and tests; nothing is evaluated."""
    try:
        tree = parsed(text)
        if not is_checked_by_parsing(tree):
            _compiled_file(text) if name else _compiled(text)
    except jinja2.TemplateError as error:
        return _problem(error, text, Origin(name, 1) if name else origin, in_file=bool(name))
    except RecursionError:
        return Problem("the template is nested too deeply", origin)
    return None


def check_condition(condition: str, origin: Origin | None) -> Problem | None:
    """What is wrong with a condition's syntax."""
    if TEMPLATE_MARK.search(condition):
        bare = re.sub(r"\{\{\s*|\s*\}\}", "", condition)
        return Problem(
            f"a condition is written without braces: {condition}", origin, f"Write: {bare}"
        )
    try:
        if not is_sound(condition):
            _compiled_expression(condition)
    except jinja2.TemplateError as error:
        return _problem(error, condition, origin)
    except RecursionError:
        return Problem("the condition is nested too deeply", origin)
    return None


class _Scope:
    """One rendering: the variables, what is being rendered, and what it came to."""

    def __init__(self, variables: Mapping[str, Any], origin: Origin | None) -> None:
        self.origin = origin
        self.variables = Variables(variables, self.variable)
        self.rendering: list[str] = []

    def finish(self, value: Any) -> Any:
        """The value with every template of the user's text in it evaluated."""
        if isinstance(value, TemplateText):
            where = value.origin or self.origin
            return self.guarded(lambda: self.native(_compiled(str(value))), value, where)
        if isinstance(value, Map):
            done = Map(
                {self.finish(key): self.finish(item) for key, item in value.items()},
                value.origin,
                value.origins,
            )
            done.keys_at = value.keys_at
            return done
        if isinstance(value, Seq):
            return Seq([self.finish(item) for item in value], value.origin, value.origins)
        if isinstance(value, Unread):
            return self.guarded(value.read, "", value.origin)
        return value

    def variable(self, name: str, value: Any) -> Any:
        """The value of a variable that an expression uses."""
        if isinstance(value, Unread):
            return value.read()
        if isinstance(value, NotYetKnown):
            raise value
        if not isinstance(value, TemplateText | Map | Seq):
            return value
        if name in self.rendering:
            chain = " -> ".join([*self.rendering[self.rendering.index(name) :], name])
            raise TemplateProblem(
                Problem(
                    f"variable {name} refers to itself: {chain}",
                    getattr(value, "origin", None) or self.origin,
                    "Give one of them another name or a plain value.",
                )
            )
        self.rendering.append(name)
        try:
            return self.finish(value)
        finally:
            self.rendering.pop()

    def native(self, template: jinja2.Template) -> Any:
        """A single expression's own value, else the text of the whole template."""
        if not getattr(template, "gives_value", False):
            return self.text(template)
        context = template.new_context(self.variables, shared=True)  # type: ignore[arg-type]
        for _ in template.root_render_func(context):
            pass
        value = context.vars["gpurun_value"]
        if isinstance(value, jinja2.Undefined):
            str(value)
        return _plain(value)

    def text(self, template: jinja2.Template) -> str:
        context = template.new_context(self.variables, shared=True)  # type: ignore[arg-type]
        return _environment().joined(template.root_render_func(context))

    def guarded(
        self,
        run: Any,
        text: str,
        origin: Origin | None,
        called_from: Origin | None = None,
        in_file: bool = False,
    ) -> Any:
        """`run()`, its errors as a `TemplateProblem` at the place of the template."""
        try:
            return run()
        except (NotYetKnown, TemplateProblem):
            raise
        except SecretError as error:
            raise TemplateProblem(error.problem) from error
        except Exception as error:
            problem = _problem(error, text, origin, self.variables.names(), in_file)
            if called_from:
                hint = f"{problem.hint} (used at {called_from})".strip()
                problem = Problem(problem.message, problem.origin, hint)
            raise TemplateProblem(problem) from error


@lru_cache(maxsize=4096)
def _compiled(text: str) -> jinja2.Template:
    """A value's template. One expression alone is compiled so that its value can be taken."""
    environment = _environment()
    tree = environment.parse(text)
    alone = only_expression(tree)
    return environment.compiled(_assignment(alone) if alone else tree, gives_value=bool(alone))


@lru_cache(maxsize=4096)
def _compiled_expression(condition: str) -> jinja2.Template:
    environment = _environment()
    return environment.compiled(_assignment(environment.expression(condition)), gives_value=True)


@lru_cache(maxsize=256)
def _compiled_file(text: str) -> jinja2.Template:
    environment = _environment()
    return environment.compiled(environment.parse(text), gives_value=False)


def _assignment(expression: nodes.Expr) -> nodes.Template:
    target = nodes.Name("gpurun_value", "store", lineno=1)
    return nodes.Template([nodes.Assign(target, expression, lineno=1)], lineno=1)


def _plain(value: Any) -> Any:
    """Generators and views of filters as lists; everything else as it is."""
    if isinstance(value, str | bytes | Mapping | list) or not isinstance(value, Iterable):
        return value
    return list(value)


def texts(value: Any) -> Iterable[str]:
    """Every text that holds a template, at any depth, keys included."""
    if isinstance(value, str):
        if TEMPLATE_MARK.search(value):
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


def _references(tree: nodes.Template) -> set[str]:
    found: set[str] = set()
    inner: set[int] = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        base = getattr(node, "node", None)
        if not isinstance(base, nodes.Name):
            continue
        key = (
            node.attr
            if isinstance(node, nodes.Getattr)
            else getattr(getattr(node, "arg", None), "value", None)
        )
        if isinstance(key, str):
            found.add(f"{base.name}.{key}")
            inner.add(id(base))
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load" and id(name) not in inner:
            found.add(name.name)
    return found


def _not_boolean(condition: str, value: Any, origin: Origin | None) -> Problem:
    shown = KNOWN(repr(value))
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    hint = f"Compare it: {condition} == ...; or write: {condition} | bool"
    if isinstance(value, list | dict | Mapping):
        hint = f"Ask for its length: {condition} | length > 0"
    if value is None:
        hint = f"Write: {condition} is not none"
    kind = "nothing" if value is None else f"{type(value).__name__} {shown}"
    return Problem(f"condition `{condition}` gives {kind}, not true or false", origin, hint)


_UNDEFINED = re.compile(r"^'([^']+)' is undefined$")
_NO_NAME = re.compile(r"No (filter|test) named '([^']+)'")


def _problem(
    error: BaseException,
    text: str,
    origin: Origin | None,
    known: Iterable[str] = (),
    in_file: bool = False,
) -> Problem:
    """An exception of jinja2 or of a filter as a mistake at its line."""
    where = _line_of(error, text, origin, in_file)
    message = str(error)
    if isinstance(error, jinja2.UndefinedError):
        return _undefined(message, known, where)
    if isinstance(error, jinja2.TemplateSyntaxError):
        return _syntax(error, text, where, in_file)
    if isinstance(error, jinja2.exceptions.SecurityError | LimitReached):
        return Problem(f"the template is refused: {message}", where, _shown(text, in_file))
    if isinstance(error, RecursionError):
        return Problem("the template calls itself without end", where, _shown(text, in_file))
    kind = "" if isinstance(error, ValueError) else f" ({type(error).__name__})"
    return Problem(f"the template fails: {message}{kind}", where, _shown(text, in_file))


def _shown(text: str, in_file: bool) -> str:
    return "" if in_file else f"In: {text if len(text) <= 120 else text[:117] + '...'}"


def _undefined(message: str, known: Iterable[str], where: Origin | None) -> Problem:
    match = _UNDEFINED.match(message)
    if not match:
        return Problem(message, where)
    name = match[1]
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = (
        f"Did you mean {near[0]}?"
        if near
        else f"Define it in vars or the inventory, pass -e {name}=..., or {name} | default(...)."
    )
    return Problem(f"variable {name} is not defined", where, hint)


def _syntax(
    error: jinja2.TemplateSyntaxError, text: str, where: Origin | None, in_file: bool
) -> Problem:
    message = error.message or str(error)
    match = _NO_NAME.search(message)
    if match:
        environment = _environment()
        every = environment.filters if match[1] == "filter" else environment.tests
        known = [name for name in every if name.isidentifier()]
        near = difflib.get_close_matches(match[2], sorted(known), 1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known))}."
        return Problem(f"there is no {match[1]} named {match[2]}", where, hint)
    return Problem(f"template syntax: {message}", where, _shown(text, in_file))


def _line_of(
    error: BaseException, text: str, origin: Origin | None, in_file: bool
) -> Origin | None:
    """The line of the error: in a template file its own, in a value the value's first line."""
    if not in_file or origin is None:
        return origin
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None and not isinstance(error, jinja2.TemplateSyntaxError):
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return Origin(origin.file, line or 1, 1)
