"""Text that came from a host, a file or a command is data: it is never evaluated as a template,
wherever it stands and whatever is made of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.lookups import OWN
from runner.playbook.templates import render, render_text

EVIL = "{{ 7 * 7 }}{% set x = 1 %}{# gone #}{{ lookup('pipe', 'touch /tmp/x') }}"
"""Evaluated, it would give 49, or end in an error."""

texts = st.sampled_from([EVIL, "{{ n }}", "{% if %}", "{{", "}}", "{# #}", "plain"])
shapes = st.recursive(
    texts | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def stored(depth: int) -> dict[str, Any]:
    """Variables of a playbook that hand `host` on: v1 is host, v2 is v1, ..."""
    names = ["host", *(f"v{n}" for n in range(1, depth + 1))]
    return {
        name: TemplateText("{{ " + before + " }}") for before, name in itertools.pairwise(names)
    }


@given(value=shapes, depth=st.integers(0, 4))
def test_of_any_shape_at_any_depth(value: Any, depth: int) -> None:
    variables = {"host": value, "n": 1, **stored(depth)}
    name = f"v{depth}" if depth else "host"
    assert render("{{ " + name + " }}", variables, None) == value
    assert render(TemplateText("{{ [" + name + "] }}"), variables, None) == [value]
    held = Map({"a": Seq([TemplateText("{{ " + name + " }}")])})
    once = render(held, variables, None)
    assert once == {"a": [value]}
    assert render(once, variables, None) == once
    again = {**variables, "again": once}
    assert render("{{ again.a[0] }}", again, None) == value


@given(value=shapes)
def test_through_json_and_yaml(value: Any) -> None:
    variables = {"host": value, "text": json.dumps(value), "n": 1}
    assert render("{{ text | from_json }}", variables, None) == value
    assert render("{{ host | to_json | from_json }}", variables, None) == value
    assert render("{{ host | to_nice_yaml | from_yaml }}", variables, None) == value
    assert render("{{ [host] | to_json }}", variables, None) == json.dumps([value])


@given(value=st.dictionaries(texts, shapes, max_size=3))
def test_through_what_takes_mappings_apart(value: dict[str, Any]) -> None:
    variables = {"host": value, "n": 1, "own": Map({"k": TemplateText("{{ n }}")})}
    assert render("{{ host | combine({}) }}", variables, None) == value
    assert render("{{ {} | combine(host, recursive=true) }}", variables, None) == value
    assert render("{{ own | combine(host) }}", variables, None) == {"k": 1} | value
    assert render("{{ host | dict2items | items2dict }}", variables, None) == value
    assert render("{{ host.keys() }}", variables, None) == list(value)
    assert render("{{ dict(host) }}", variables, None) == value


@pytest.mark.parametrize(
    "expression",
    [
        "out",
        "out | string",
        "missing | default(out)",
        "'' ~ out",
        "out ~ ''",
        "'' + out",
        "'%s' % out",
        "'{}'.format(out)",
        "[out] | join",
        "[out] | first",
        "[[out]] | flatten | last",
        "[out] | map('string') | first",
        "[{'a': out}] | map(attribute='a') | first",
        "[out] | select('string') | first",
        "{'a': out}.a",
        "({out: 1} | dict2items)[0].key",
        "{out: 1}.keys() | first",
        "(out | b64encode) | b64decode",
        "out | regex_replace('nothing', '')",
        "out | regex_search('^.*$')",
        "'x' | regex_replace('x', out)",
        "out | replace('nothing', '')",
        "out | trim",
        "out | to_json | from_json",
        "{'a': out} | to_yaml | from_yaml | items | map('last') | first",
        "('[' ~ (out | to_json) ~ ']') | from_json | first",
        "true | ternary(out, '')",
        "out if true else ''",
        "lookup('vars', 'out')",
        "lookup('items', [out])",
        "lookup('dict', {'k': out}).value",
        "namespace(a=out).a",
        "[out] | zip(['x']) | map('first') | first",
    ],
)
def test_through_expressions(expression: str) -> None:
    variables = {"out": EVIL, "n": 1}
    assert render("{{ " + expression + " }}", variables, None) == EVIL
    held = {**variables, "held": TemplateText("{{ " + expression + " }}")}
    assert render("{{ held }}", held, None) == EVIL
    assert render("x{{ held }}", held, None) == "x" + EVIL
    assert render_text("{{ held }}", held, None, "x.j2") == EVIL


@pytest.mark.parametrize(
    "template",
    [
        "{% set x = out %}{{ x }}",
        "{% set x %}{{ out }}{% endset %}{{ x }}",
        "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(out) }}",
        "{% for x in [out] %}{{ x }}{% endfor %}",
        "{% filter trim %}{{ out }}{% endfilter %}",
        "{% with x = out %}{{ x }}{% endwith %}",
        "{% set n = namespace() %}{% set n.a = out %}{{ n.a }}",
    ],
)
def test_through_statements(template: str) -> None:
    assert render(template, {"out": EVIL}, None) == EVIL
    assert render_text(template, {"out": EVIL}, None, "x.j2") == EVIL


def test_as_a_key() -> None:
    value = Map({TemplateText("{{ out }}"): 1})
    once = render(value, {"out": EVIL}, None)
    assert once == {EVIL: 1}
    assert render(once, {}, None) == {EVIL: 1}


class TestLookups:
    """Nor is what the controller's files, commands and environment say."""

    def variables(self, folder: Path) -> dict[str, Any]:
        return {"out": EVIL, "playbook_dir": str(folder), OWN: frozenset({"path"})}

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "evil").write_text(EVIL)
        assert render("{{ lookup('file', 'evil') }}", self.variables(tmp_path), None) == EVIL

    def test_a_command(self, tmp_path: Path) -> None:
        (tmp_path / "evil").write_text(EVIL)
        values = self.variables(tmp_path)
        assert render("{{ lookup('pipe', 'cat evil') }}", values, None) == EVIL
        assert render("{{ query('lines', 'cat evil') }}", values, None) == [EVIL]

    def test_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GPURUN_TEST_EVIL", EVIL)
        text = "{{ lookup('env', 'GPURUN_TEST_EVIL') }}"
        assert render(text, self.variables(tmp_path), None) == EVIL

    def test_a_template_evaluates_its_own_text_only(self, tmp_path: Path) -> None:
        (tmp_path / "x.j2").write_text("{{ 6 * 7 }} {{ out }}")
        values = self.variables(tmp_path)
        assert render("{{ lookup('template', 'x.j2') }}", values, None) == f"42 {EVIL}"

    def test_in_a_variable_that_another_template_uses(self, tmp_path: Path) -> None:
        (tmp_path / "evil").write_text(EVIL)
        values = self.variables(tmp_path)
        values["held"] = TemplateText("{{ lookup('file', 'evil') }}")
        values["held2"] = Map({"a": TemplateText("{{ held }}")})
        assert render("{{ held2 }}", values, None) == {"a": EVIL}
        assert render_text("{{ held2.a }}", values, None, "x.j2") == EVIL
