"""What an expression may use: whatever somebody writes ends in a message at its place, soon.

Without the limits each of these would take hours or all memory, so none of the tests looks at a
clock. `XS` is a text of a million letters, `LINES` a million lines, `TABS` ten thousand tabs.
"""

from __future__ import annotations

import pytest

from runner.errors import Origin
from runner.playbook import limits
from runner.playbook.document import TemplateText
from runner.playbook.filters import regexes
from runner.playbook.templates import TemplateProblem, check, holds, render, render_text

HERE = Origin("p.yaml", 3, 7)
VALUES = {"XS": "x" * 10**6, "LINES": "a\n" * 10**6, "TABS": "\t" * 10**4, "EVIL": "a" * 40 + "!"}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def problem(template: str) -> str:
    with pytest.raises(TemplateProblem) as caught:
        render(template, {**VALUES, "BOMB": BOMB}, HERE)
    text = str(caught.value.problem)
    assert text.startswith("p.yaml:3:7: ")
    assert len(text) < 2000
    return text


@pytest.mark.parametrize(
    "expression",
    [
        # operators
        "'a' * 10**9",
        "[0] * 10**9",
        "(0,) * 10**9",
        "[XS] * 10**6",
        "2 ** (10**9)",
        "10**1000 * 10**1000",
        "'%999999999d' % 1",
        "'%(a)999999999d' % {'a': 1}",
        "'%*d' % (10**9, 1)",
        "'%.999999999f' % 1",
        "('%s' * 1000) % ((XS,) * 1000)",
        "XS ~ XS ~ XS ~ XS ~ XS ~ XS ~ XS ~ XS ~ XS ~ XS ~ XS",
        "[XS, [XS, XS, [XS, XS, XS, XS, XS, XS, XS, XS, XS]]]",
        # methods
        "'{:>999999999}'.format(1)",
        "'{:.999999999f}'.format(1.5)",
        "'{:{w}}'.format(1, w=10**9)",
        "'{0:{1[w]}}'.format(1, {'w': 10**9})",
        "'{x:>999999999}'.format_map({'x': 1})",
        "('{0}' * 1000).format(XS)",
        "'x'.ljust(10**9)",
        "'x'.zfill(10**9)",
        "TABS.expandtabs(100000)",
        "XS.replace('x', XS)",
        "XS.translate({120: XS})",
        "XS.join(range(99999) | map('string') | list)",
        "(1).to_bytes(10**9, 'big')",
        "XS.encode().center(10**9)",
        # filters
        "range(10**9) | list",
        "'x' | center(10**9)",
        "'%999999999d' | format(1)",
        "XS | replace('x', XS)",
        "XS | replace('', XS)",
        "range(99999) | join(XS)",
        "LINES | indent(10**6)",
        "LINES | indent(XS)",
        "LINES | comment(decoration=XS)",
        "'a' | comment(prefix_count=10**9)",
        "'a' | comment(postfix_count=10**9)",
        "LINES | wordwrap(1, wrapstring=XS)",
        "[1] | batch(10**9, 0)",
        "[1] | slice(10**9)",
        "range(1000) | combinations(3)",
        "range(99999) | combinations(50000)",
        "range(99999) | permutations",
        "range(1000) | product(range(1000), range(1000))",
        "[1, 2] | product(repeat=10**9)",
        "range(99999) | map('center', 10**7) | list",
        "XS | regex_replace('x', XS)",
        "('x' * 10000) | regex_replace('(?=(.*))', '\\1')",
        "([[0] * 1000] * 9999) | sum(start=[]) | to_json | length",
        "{'a': [1]} | to_json(indent=10**9)",
        "{'a': [1]} | tojson(indent=10**9)",
        "{'a': [1]} | to_yaml(indent=10**9)",
        "('[' * 99999) | from_json",
        "('[' * 99999) | from_yaml",
        "BOMB | from_yaml",
        "(XS ~ XS) | from_yaml",
        "('9' * 10**6) | int",
        "'a' is match('((a{1000}){1000}){1000}')",
        "'a' is match('(' * 99999)",
        "lookup('sequence', '1-999999999')",
        "lookup('sequence', '1:%0999999999d')",
    ],
)
def test_values_that_would_grow_without_end(expression: str) -> None:
    problem("{{ " + expression + " }}")


NAMESPACE = "{% set n = namespace(x='x', l=['x'], t=(1,)) %}{% for i in range(99) %}"


@pytest.mark.parametrize(
    "template",
    [
        NAMESPACE + "{% set n.x = n.x ~ n.x %}{% endfor %}",
        NAMESPACE + "{% set n.x = n.x + n.x %}{% endfor %}",
        NAMESPACE + "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        NAMESPACE + "{% set n.l = n.l + n.l %}{% endfor %}",
        NAMESPACE + "{% set n.t = n.t + n.t %}{% endfor %}",
        NAMESPACE + "{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
        NAMESPACE + "{% set n.l = (n.l, n.l) %}{% endfor %}{{ n.l == (1, 2) }}",
        NAMESPACE + "{% set n.l = {'a': n.l, 'b': n.l} %}{% endfor %}{{ n.l | to_json }}",
        "{% set n = namespace(l=[]) %}{% for i in range(999) %}{% set n.l = [n.l] %}{% endfor %}",
        "{% set n = namespace() %}{% set n.me = n %}{{ n | to_json }}",
        "{% set n = namespace() %}{% set n.me = {'n': n} %}{{ n.me | to_yaml }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) recursive %}{{ loop(range(9999)) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{{ f(n - 1) }}{{ f(n - 1) if n }}{% endmacro %}{{ f(99) }}",
        "{% macro f(a, n) %}{{ f([a, a], n - 1) if n else a }}{% endmacro %}{{ f([1], 99) }}",
        "{% filter upper %}{% for i in range(99999) %}"
        + "x" * 2000
        + "{% endfor %}{% endfilter %}",
    ],
)
def test_templates_that_would_not_end(template: str) -> None:
    problem(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 300 + "1" + ")" * 300 + " }}",
        "{{ " + "[" * 300 + "1" + "]" * 300 + " }}",
        "{{ 1" + " + 1" * 9999 + " }}",
        "{{ d" + ".a" * 9999 + " }}",
        "{{ " + "not " * 3000 + "1 }}",
        "{{ 1" + " | int" * 3000 + " }}",
        "{% for a in [1] %}" * 40 + "{% endfor %}" * 40,
        "{% if true %}" * 400 + "{% endif %}" * 400,
    ],
)
def test_deep_nesting_is_told_while_loading(template: str) -> None:
    problem(template)
    found = check(template, HERE)
    assert found
    assert "nested too deeply" in found.message
    with pytest.raises(TemplateProblem, match=r"^x\.j2:1:1: "):
        render_text(template, {}, HERE, "x.j2")


class TestPatterns:
    @pytest.mark.parametrize(
        "expression",
        [
            "EVIL is match('^(a|aa)+$')",
            "EVIL is search('^(a|aa)+$')",
            "EVIL is regex('^(a|aa)+$', match_type='match')",
            "EVIL | regex_search('^(a|aa)+$')",
            "EVIL | regex_replace('^(a|aa)+$', '')",
            "EVIL | regex_findall('^(a|aa)+$')",
            "[EVIL] | select('match', '^(a|aa)+$') | list",
        ],
    )
    def test_that_backtrack_without_end(
        self, expression: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(regexes, "SECONDS", 0.1)
        assert "takes longer than 0.1 seconds" in problem("{{ " + expression + " }}")

    def test_many_of_them_share_the_time_of_one_rendering(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MAX_SECONDS", 0.3)
        text = "{% for i in range(99999) %}{{ EVIL is match('^(a|aa){1,21}$') }}{% endfor %}"
        problem(text)

    def test_braces_mean_what_they_mean_in_python(self) -> None:
        assert holds("'a{e}' is regex('^a{e}$')", {}, None)
        assert not holds("'b' is regex('^a{e<=1}$')", {}, None)
        assert holds("'a{' is regex('^a[{]$') and 'a1' is regex('a\\\\d{1,2}')", {}, None)


def test_the_time_of_a_rendering_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    text = "{% set l = range(99999) | list %}{% for i in l %}{{ -1 in l }}{% endfor %}"
    assert "it takes longer than" in problem(text)


def test_variables_and_files_share_the_budget_of_what_uses_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_STEPS", 1000)
    rounds = TemplateText("{% for i in range(600) %}{{ i }}{% endfor %}")
    values = {"a": rounds, "b": rounds}
    assert len(render("{{ a }}", values, None)) > 600
    with pytest.raises(TemplateProblem, match="loop rounds and calls"):
        render("{{ a ~ b }}", values, HERE)


def test_ordinary_work_is_far_below_the_limits() -> None:
    text = "{% for i in range(2000) %}{{ i | string | regex_replace('1', 'x') }}\n{% endfor %}"
    assert len(render_text(text, {}, None, "x.j2").splitlines()) == 2000
    assert len(render("{{ range(50000) | map('string') | join(',') }}", {}, None)) > 200_000


class Thing:
    """An object of Python that a variable might hold."""

    secret = "x"

    def method(self) -> str:
        return "y"


class TestPythonStaysOutOfReach:
    VALUES = {"d": {"a": 1}, "l": [1], "s": "x", "o": Thing(), "m": Thing().method}

    @pytest.mark.parametrize(
        "expression",
        [
            "''.__class__",
            "''.__class__.__mro__[1].__subclasses__()",
            "d['__class__']",
            "d | attr('__class__')",
            "s | attr('__init__')",
            "o | attr('__dict__')",
            "o.__init__.__globals__",
            "m.__func__",
            "m.__self__.__class__",
            "[s] | map(attribute='__class__') | list",
            "[o] | map('attr', '__class__') | list",
            "[o] | groupby('__class__')",
            "[o, o] | sort(attribute='__class__.__name__')",
            "[o] | sum(attribute='__class__')",
            "['__class__'] | map('extract', o) | list",
            "'__class__' | extract(s)",
            "'{0.__class__}'.format(s)",
            "'{0.__class__.__mro__}'.format(o)",
            "'{x.__class__}'.format_map({'x': s})",
            "('{0.__class' ~ '__}').format(s)",
            "s['for' ~ 'mat'].__globals__",
            "(s | attr('format')).__self__",
            "range.__globals__",
            "dict.fromkeys",
            "dict.update(d, b=2)",
            "dict.__base__",
            "namespace.__init__.__globals__",
            "lookup.run",
            "lookup.run.__globals__",
            "query.__class__",
            "cycler.__init__.__globals__",
            "joiner.__init__",
            "lipsum.__globals__['os']",
            "self.__init__",
            "self._TemplateReference__context",
            "loop.__class__",
            "caller",
            "x.__class__",
            "x.__init__.__globals__",
            "l.append(2)",
            "l.sort()",
            "d.update(b=2)",
            "d.pop('a')",
            "d.__setitem__('a', 2)",
            "d.clear()",
            "(1).__class__",
            "(1).real.__class__",
            "true.__class__.__base__",
            "none.__class__",
            "s.encode().decode.__self__",
            "(x for x in l).gi_frame",
            "s.join.__self__.__class__",
            "''[('__cla' ~ 'ss__')]",
            "s | map('__class__')",
            "[s] | map('attr', '__class__') | list",
            "s | eval",
            "import os",
            "open('/etc/passwd')",
        ],
    )
    def test_in_expressions(self, expression: str) -> None:
        values = {**self.VALUES, "d": {"a": 1}, "l": [1]}
        with pytest.raises(TemplateProblem) as caught:
            render("{{ " + expression + " }}", values, HERE)
        assert str(caught.value.problem).startswith("p.yaml:3:7: ")
        assert values["d"] == {"a": 1}
        assert values["l"] == [1]

    @pytest.mark.parametrize(
        "template",
        [
            "{% include '/etc/passwd' %}",
            "{% extends '/etc/passwd' %}",
            "{% import '/etc/passwd' as p %}{{ p }}",
            "{% from '/etc/passwd' import p %}",
            "{% set d.a = 2 %}",
            "{% do d.update(a=2) %}",
            "{% do l.append(1) %}",
            "{% macro f() %}{% endmacro %}{{ f.__globals__ }}{{ f._func }}",
            "{% for x in l %}{{ loop._iterator }}{{ loop.__init__.__globals__ }}{% endfor %}",
            "{% call(x) d.update() %}{% endcall %}",
            "{% set n = namespace() %}{{ n.__class__.__init__ }}",
            "{% set n = namespace() %}{% set n.__class__ = 1 %}{{ n.__class__.x }}",
        ],
    )
    def test_in_template_files(self, template: str) -> None:
        values = {"d": {"a": 1}, "l": [1]}
        with pytest.raises(TemplateProblem, match=r"^x\.j2:1:1: "):
            render_text(template, values, HERE, "x.j2")
        assert values == {"d": {"a": 1}, "l": [1]}

    def test_in_conditions(self) -> None:
        with pytest.raises(TemplateProblem):
            holds("d.__class__ == 1", self.VALUES, HERE)
