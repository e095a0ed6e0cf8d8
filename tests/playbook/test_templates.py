"""What an expression gives, what it may reach, and what is said when it fails."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from runner.errors import Origin
from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.source import parse_yaml
from runner.playbook.templates import (
    NotYetKnown,
    TemplateProblem,
    holds,
    names,
    render,
    render_text,
    source,
)

HERE = Origin("p.yaml", 3, 7)


def variables(text: str) -> Map:
    value = parse_yaml(text, "vars.yaml").value
    assert isinstance(value, Map)
    return value


def problem(template: str, **values: Any) -> str:
    with pytest.raises(TemplateProblem) as caught:
        render(template, values, HERE)
    return str(caught.value.problem)


class Later(Mapping[str, Any]):
    """A mapping of the engine whose values are not known yet."""

    def __getitem__(self, key: str) -> Any:
        raise NotYetKnown(key)

    def __iter__(self) -> Iterator[str]:
        raise NotYetKnown("all")

    def __len__(self) -> int:
        raise NotYetKnown("all")


class Facts(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values_of = values

    def __getitem__(self, key: str) -> Any:
        return self.values_of[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


class TestValues:
    @pytest.mark.parametrize(
        ("template", "value"),
        [
            ("{{ n }}", 7),
            ("{{ n + 1 }}", 8),
            ("{{ n }} GPUs", "7 GPUs"),
            ("{{ n }}{{ n }}", "77"),
            ("{{ l }}", [1, 2]),
            ("{{ t }}", True),
            ("{{ nothing }}", None),
            ("{{ l | map('string') }}", ["1", "2"]),
            ("{{ 'a' if t else 'b' }}", "a"),
            ("{% if t %}yes{% endif %}", "yes"),
            ("plain", "plain"),
            (5, 5),
        ],
    )
    def test_an_expression_alone_keeps_its_type(self, template: Any, value: Any) -> None:
        got = render(template, {"n": 7, "l": [1, 2], "t": True, "nothing": None}, None)
        assert got == value
        assert type(got) is type(value)

    def test_text_that_looks_like_a_number_stays_text(self) -> None:
        assert render("{{ a }}", {"a": "[1, 2]"}, None) == "[1, 2]"
        assert render("{{ a }}{{ a }}", {"a": "1"}, None) == "11"

    def test_mappings_and_lists_keep_their_places(self) -> None:
        value = variables('a: "{{ n }}"\nb: ["x{{ n }}"]\n')
        got = render(value, {"n": 7}, None)
        assert got == {"a": 7, "b": ["x7"]}
        assert isinstance(got, Map)
        assert got.where("a") == value.where("a")
        assert isinstance(got["b"], Seq)
        assert got["b"].origins == value["b"].origins

    def test_keys_may_be_templates(self) -> None:
        assert render(variables('"{{ k }}": 1'), {"k": "name"}, None) == {"name": 1}

    def test_ansible_line_rules_in_files(self) -> None:
        text = "{% for n in l %}\nGPU {{ n }}\n{% endfor %}\nend\n"
        assert render_text(text, {"l": [0, 1]}, None, "x.j2") == "GPU 0\nGPU 1\nend\n"
        assert render_text("no newline", {}, None, "x.j2") == "no newline"


class TestOmit:
    """`default(omit)` leaves out the argument, the key or the item."""

    def test_of_mappings_and_lists(self) -> None:
        value = variables(
            'a: "{{ missing | default(omit) }}"\nb: [1, "{{ omit }}", 2]\n'
            'c: "{{ {1: omit, 2: [omit, 3]} }}"\nd: "{{ via }}"\n'
        )
        got = render(value, {"via": TemplateText("{{ missing | default(omit) }}")}, None)
        assert got == {"b": [1, 2], "c": {2: [3]}}
        assert got["b"].origins == [value["b"].origins[0], value["b"].origins[2]]

    def test_where_the_variable_is_defined_it_is_taken(self) -> None:
        value = variables('a: "{{ mode | default(omit) }}"\n')
        assert render(value, {"mode": "0644"}, None) == {"a": "0644"}

    def test_it_is_no_text(self) -> None:
        for text in ("x {{ omit }}", "{{ 'x' ~ omit }}", "{{ [omit] | string }}"):
            assert "it cannot be part of a text" in problem(text)


class TestVariables:
    def test_variables_may_refer_to_each_other(self) -> None:
        found = variables('a: "{{ b }}/x"\nb: "{{ c.d }}"\nc: {d: "{{ n }}"}\nn: 1\n')
        assert render("{{ a }}", found, None) == "1/x"

    def test_a_circle_is_told(self) -> None:
        found = variables('a: "{{ b }}"\nb: "{{ a }}"\n')
        with pytest.raises(TemplateProblem, match=r"a refers to itself: a -> b -> a"):
            render("{{ a }}", found, None)

    def test_only_what_is_used_is_evaluated(self) -> None:
        found = variables('bad: "{{ nowhere }}"\nn: 1\n')
        assert render("{{ bad if n > 1 else n }}", found, None) == 1
        assert render("{{ bad | default(5) }}", found, None) == 5
        assert holds("bad is undefined", found, None) is True
        with pytest.raises(TemplateProblem, match=r"^vars.yaml:1:6: variable nowhere is not"):
            render("{{ bad }}", found, None)

    def test_a_key_wins_over_a_method(self) -> None:
        for kind in (dict, Facts):
            found = {"facts": kind({"items": 3, "gpus": [{"product": "A100"}]})}
            assert render("{{ facts.items }}", found, None) == 3
            assert render("{{ facts.gpus[0].product }}", found, None) == "A100"
            assert render("{{ facts['gpus'][0]['product'] }}", found, None) == "A100"
            assert render("{{ facts.keys() | list }}", found, None) == ["items", "gpus"]
            assert holds("facts.nothing is defined", found, None) is False

    def test_extra_variables_become_sources(self) -> None:
        extra = source({"a": "{{ n }}", "b": ["{{ n }}"]})
        assert render("{{ [a, b] }}", {**extra, "n": 1}, None) == [1, [1]]


class TestHostOutputIsData:
    """What a host printed is never evaluated, wherever it is stored."""

    EVIL = "{{ 7 * 7 }}{% for a in b %}"

    def test_in_a_variable(self) -> None:
        assert render("{{ out }}", {"out": self.EVIL}, None) == self.EVIL
        assert render("x {{ out }}", {"out": self.EVIL}, None) == f"x {self.EVIL}"

    def test_in_results_and_facts(self) -> None:
        found = {"r": {"stdout": self.EVIL, "lines": [self.EVIL]}}
        assert render("{{ r.stdout }}", found, None) == self.EVIL
        assert render("{{ r.lines }}", found, None) == [self.EVIL]

    def test_stored_in_another_variable(self) -> None:
        found = {
            **variables('a: "{{ r.stdout }}"\nb: {c: "{{ a }}"}\n'),
            "r": {"stdout": self.EVIL},
        }
        assert render("{{ b.c }}", found, None) == self.EVIL
        assert render("{{ b }}", found, None) == {"c": self.EVIL}

    def test_rendered_twice(self) -> None:
        value = variables('items: ["{{ out }}"]\n')
        once = render(value, {"out": self.EVIL}, None)
        assert render(once, {}, None) == {"items": [self.EVIL]}
        assert render("{{ item }}", {"item": once["items"][0]}, None) == self.EVIL

    def test_in_a_template_file(self) -> None:
        assert render_text("{{ out }}\n", {"out": self.EVIL}, None, "x.j2") == self.EVIL + "\n"


class TestNotYetKnown:
    FOUND = {"facts": Later(), "n": 1, "via": TemplateText("{{ facts.gpus }}")}

    @pytest.mark.parametrize(
        "template",
        [
            "{{ facts.gpus }}",
            "{{ facts['gpus'] | length }}",
            "{{ facts.gpus | default(3) }}",
            "{{ via }}",
            "{{ via | default([]) }}",
            "{{ via is defined }}",
            "{{ via | mandatory }}",
            "{% for gpu in facts.gpus %}{{ gpu }}{% endfor %}",
        ],
    )
    def test_passes_through_untouched(self, template: str) -> None:
        with pytest.raises(NotYetKnown, match="gpus"):
            render(template, self.FOUND, None)

    def test_only_where_it_is_needed(self) -> None:
        assert render("{{ n if n == 1 else facts.gpus }}", self.FOUND, None) == 1
        assert holds("n == 1 or via", self.FOUND, None) is True
        assert holds("n == 2 and facts.gpus | length > 0", self.FOUND, None) is False

    def test_in_conditions(self) -> None:
        with pytest.raises(NotYetKnown):
            holds("facts.gpus | length > 0", self.FOUND, None)


class TestConditions:
    FOUND = {"n": 3, "s": "false", "l": [1], "none": None, "r": {"changed": True, "failed": False}}

    @pytest.mark.parametrize(
        ("condition", "value"),
        [
            ("n == 3", True),
            ("not n == 3", False),
            ("n in [1, 2]", False),
            ("true", True),
            ("r is changed and r is succeeded", True),
            ("r is failed", False),
            ("s | bool", False),
            ("'550.54.15' is version('535', '>=')", True),
            ("'A100' is match('A1') and 'xA100' is search('A1')", True),
            ("[1] is subset([1, 2])", True),
        ],
    )
    def test_true_or_false(self, condition: str, value: bool) -> None:
        assert holds(condition, self.FOUND, None) is value

    @pytest.mark.parametrize(
        ("condition", "message", "hint"),
        [
            ("s", "gives str 'false', not true or false", "s | bool"),
            ("n", "gives int 3", "Compare it"),
            ("l", "gives list [1]", "l | length > 0"),
            ("none", "gives nothing", "is not none"),
            ("{{ n == 3 }}", "without braces", "Write: n == 3"),
            ("n = 3", "template syntax", "In: n = 3"),
            ("", "the expression is empty", ""),
            ("lisst == 3", "variable lisst is not defined", "pass -e lisst="),
        ],
    )
    def test_anything_else_is_told(self, condition: str, message: str, hint: str) -> None:
        with pytest.raises(TemplateProblem) as caught:
            holds(condition, self.FOUND, HERE)
        assert caught.value.problem.origin == HERE
        assert message in caught.value.problem.message
        assert hint in caught.value.problem.hint


class TestMessages:
    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("{{ sise }}", "variable sise is not defined\n    Did you mean size?"),
            ("{{ gpu.porduct }}", "there is no key 'porduct'; did you mean 'product'?"),
            ("{{ gpu.x.y }}", "there is no key 'x'"),
            ("{{ size | lenght }}", "there is no filter named lenght\n    Did you mean length?"),
            ("{{ size is evn }}", "there is no test named evn\n    Did you mean even?"),
            ("{{ size + }}", "template syntax"),
            ("{{ size + 'a' }}", "unsupported operand"),
            ("{{ 'x' | int }}", "int: 'x' is not a whole number"),
            ("{{ 'perhaps' | bool }}", "bool: 'perhaps' is neither true nor false"),
            ("{{ '{' | from_json }}", "from_json: "),
            ("{{ missing | mandatory('say which') }}", "say which"),
            ("{{ lookup('file', 'x') }}", "lookup file: there is no playbook here"),
        ],
    )
    def test_at_the_place_of_the_template(self, template: str, message: str) -> None:
        text = problem(template, size=3, gpu={"product": "A100"})
        assert text.startswith("p.yaml:3:7: ")
        assert message in text

    def test_template_files_tell_their_own_line(self) -> None:
        for text in ("a\nb\n{{ nope }}\n", "a\nb\n{{ 1 + }}\n", "a\nb\n{{ 1 | nofilter }}\n"):
            with pytest.raises(TemplateProblem, match=r"^x.j2:3:1: "):
                render_text(text, {}, HERE, "x.j2")


def test_names_of_what_templates_use() -> None:
    value = variables('a: "{{ facts.gpus[0].x }} {{ size }}"\nb: ["{{ facts[\'os\'].name }}"]\n')
    assert names(value) == {"facts.gpus", "facts.os", "size"}
    assert names("no template: facts.gpus") == set()
