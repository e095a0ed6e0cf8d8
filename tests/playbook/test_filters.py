"""Filters that Ansible's users know, with the results Ansible gives."""

from typing import Any

import pytest

from runner.playbook.templates import render


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("missing | default('x')", "x"),
        ("'' | default('x')", ""),
        ("'' | default('x', true)", "x"),
        ("false | default('x', boolean=true)", "x"),
        ("missing.deeper | default('x')", "x"),
        ("'yes' | bool", True),
        ("'OFF' | bool", False),
        ("1 | bool", True),
        ("'12' | int", 12),
        ("'ff' | int(base=16)", 255),
        ("'x' | int(5)", 5),
        ("[3, 1, 3] | unique", [3, 1]),
        ("[1, 2] | union([2, 3])", [1, 2, 3]),
        ("[1, 2] | intersect([2, 3])", [2]),
        ("[1, 2] | difference([2, 3])", [1]),
        ("[1, [2, [3]]] | flatten", [1, 2, 3]),
        ("[1, [2, [3]]] | flatten(levels=1)", [1, 2, [3]]),
        ("{'a': 1} | combine({'b': 2}, {'a': 3})", {"a": 3, "b": 2}),
        ("{'a': {'x': 1}} | combine({'a': {'y': 2}})", {"a": {"y": 2}}),
        ("{'a': {'x': 1}} | combine({'a': {'y': 2}}, recursive=true)", {"a": {"x": 1, "y": 2}}),
        ("{'a': 1} | dict2items", [{"key": "a", "value": 1}]),
        ("[{'key': 'a', 'value': 1}] | items2dict", {"a": 1}),
        ("{'a': [1, true, none]} | to_json", '{"a": [1, true, null]}'),
        ("'[1, {\"a\": 2}]' | from_json", [1, {"a": 2}]),
        ("{'b': [1], 'a': 'x'} | to_yaml", "a: x\nb: [1]\n"),
        ("'a: [1]' | from_yaml", {"a": [1]}),
        ("'a1b2' | regex_replace('[0-9]', '-')", "a-b-"),
        ("'gpu-07' | regex_replace('^gpu-(\\d+)$', 'n\\1')", "n07"),
        ("'driver 550.54' | regex_search('[0-9.]+')", "550.54"),
        ("'driver 550.54' | regex_search('(\\d+)[.](\\d+)', '\\1', '\\2')", ["550", "54"]),
        ("'none here' | regex_search('[0-9]+')", None),
        ("'a1b2' | regex_findall('[0-9]')", ["1", "2"]),
        ("'a.b' | regex_escape", "a\\.b"),
        ("'x' | b64encode", "eA=="),
        ("'eA==' | b64decode", "x"),
        (
            "'x' | hash('sha256')",
            "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        ),
        ("'/etc/containerd/config.toml' | basename", "config.toml"),
        ("'/etc/containerd/config.toml' | dirname", "/etc/containerd"),
        ("'config.toml' | splitext", ["config", ".toml"]),
        ('"it\'s" | quote', "'it'\"'\"'s'"),
        ("true | ternary('a', 'b')", "a"),
        ("[] | type_debug", "list"),
        ("[{'a': 1}, {'a': 2}] | selectattr('a', 'equalto', 2) | map(attribute='a')", [2]),
        ("[{'a': 1}, {'a': 2}] | sum(attribute='a')", 3),
        ("'535.104.05' is version('550.54', '<')", True),
        ("range(3) | list", [0, 1, 2]),
        ("dict(a=1)", {"a": 1}),
    ],
)
def test_filter(expression: str, value: Any) -> None:
    assert render("{{ " + expression + " }}", {}, None) == value
