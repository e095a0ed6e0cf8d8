"""What is not known yet stays not known: no filter, test or operator makes true, false or a default
of it."""

from __future__ import annotations

from typing import Any

import pytest

from runner.engine.planning import Needs
from runner.engine.variables import Facts, KnownAfterChange, Later, NeedsLook
from runner.playbook.document import TemplateText
from runner.playbook.expressions import Environment
from runner.playbook.templates import NotYetKnown, holds, render

RESULT = Later("r", {"changed": True, "skipped": False})
VALUES: dict[str, Any] = {
    "r": RESULT,
    "rows": {"results": [RESULT, RESULT], "changed": True},
    "via": TemplateText("{{ r.stdout }}"),
    "inside": TemplateText("{{ [r.rc, 1] }}"),
    "facts": Facts({}, Needs()),
}
_ENVIRONMENT = Environment()
FILTERS = sorted(name for name in _ENVIRONMENT.filters if name.isidentifier())
FOR_UNDEFINED = ("d", "default", "mandatory")
TESTS = sorted(name for name in _ENVIRONMENT.tests if name.isidentifier())


@pytest.mark.parametrize("name", FILTERS)
def test_through_every_filter(name: str) -> None:
    for value in ("r.stdout", "via", "inside"):
        with pytest.raises(KnownAfterChange):
            render("{{ " + f"{value} | {name}" + " }}", VALUES, None)
    with pytest.raises(NeedsLook):
        render("{{ facts.gpus | " + name + " }}", VALUES, None)


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in FOR_UNDEFINED])
def test_as_an_argument_of_every_filter(name: str) -> None:
    for value in ("r.stdout", "via"):
        with pytest.raises(KnownAfterChange):
            render("{{ 'x' | " + f"{name}({value})" + " }}", VALUES, None)


@pytest.mark.parametrize("name", TESTS)
def test_through_every_test(name: str) -> None:
    for value in ("r.stdout", "via", "inside"):
        with pytest.raises(KnownAfterChange):
            holds(f"{value} is {name}", VALUES, None)
        with pytest.raises(KnownAfterChange):
            holds(f"{value} is not {name}", VALUES, None)


@pytest.mark.parametrize(
    "expression",
    [
        "r.stdout | default('x')",
        "via | default('x', true)",
        "via | default(via)",
        "missing | default(r.rc)",
        "via is defined and true",
        "(via is defined) | ternary(1, 2)",
        "(r.rc == 0) | ternary(1, 2)",
        "true | ternary(via, 2)",
        "'a' if r.rc == 0 else 'b'",
        "r.rc == 0 or true",
        "not via",
        "via ~ 'x'",
        "'x' ~ via",
        "'%s' % via",
        "'{}'.format(via)",
        "[via]",
        "{'a': via}",
        "{'a': {'b': [via]}} | to_json",
        "[via] | join",
        "[[via]] | flatten",
        "[via] | map('upper') | list",
        "r | to_json",
        "r | combine({'a': 1})",
        "{'a': 1} | combine(r)",
        "r | dict2items",
        "r | length",
        "r ~ ''",
        "[r] | string",
        "rows | to_json",
        "rows.results | map(attribute='rc') | list",
        "rows.results | selectattr('rc', 'equalto', 0) | list",
        "rows.results | rejectattr('rc') | list",
        "rows.results | selectattr('stdout', 'defined') | list",
        "rows.results | groupby('rc')",
        "rows.results | sort(attribute='rc')",
        "rows.results | sum(attribute='rc')",
        "rows.results | items2dict(key_name='rc', value_name='stdout')",
        "['rc'] | map('extract', r) | list",
        "range(r.rc) | list",
        "dict(a=via)",
        "lookup('items', via)",
        "lookup('vars', 'via')",
        "lookup('vars', 'missing', default=via)",
        "lookup('env', 'HOME', default=via)",
    ],
)
def test_in_expressions(expression: str) -> None:
    with pytest.raises(KnownAfterChange):
        render("{{ " + expression + " }}", VALUES, None)


@pytest.mark.parametrize(
    "condition",
    [
        "r is failed",
        "r is succeeded",
        "r is unreachable",
        "r.rc == 0",
        "r.stdout == ''",
        "r.stdout is search('x')",
        "'x' in r.stdout",
        "'x' not in via",
        "via in ['x']",
        "via",
        "not via",
        "r.rc < 1",
        "r.stdout | length > 0",
        "rows.results | selectattr('rc', 'ne', 0) | list | length == 0",
        "rows is succeeded and r is failed",
        "r.stdout is version('1.0', '>')",
    ],
)
def test_in_conditions(condition: str) -> None:
    with pytest.raises(NotYetKnown):
        holds(condition, VALUES, None)


def test_what_is_known_already_is_told() -> None:
    assert holds("r is changed and r is not skipped", VALUES, None)
    assert holds("rows is changed", VALUES, None)
    assert holds("rows.results | selectattr('changed') | list | length == 2", VALUES, None)
    assert holds("r is defined and r.missing | default(1) == 1", {"r": {}}, None)
    assert render("{{ 1 if r is changed else r.rc }}", VALUES, None) == 1
