"""Edits of JSON and YAML: for all documents and patches the meaning is the merge."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runner.modules.base import Refused
from runner.modules.files.data import MISSING, find, merge, remove, same
from runner.modules.files.json_edit import JsonEdits
from runner.modules.files.patch import Edits, PatchArguments, edit
from runner.modules.files.toml_style import key_text
from runner.modules.files.yaml_edit import YamlEdits
from runner.modules.json_file import JsonArguments
from runner.modules.yaml_file import YamlArguments

KEYS = st.sampled_from(["a", "b-c", "x.y", "yes", "1", "-", "ü", '"', "# d", "a: b"])
TEXTS = st.text(st.sampled_from("ab'\"\\#:,]{}\n\t é-"), max_size=6)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.lists(st.one_of(st.integers(0, 9), TEXTS, st.just({"k": [1]})), max_size=3),
)
MAPPINGS = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=3),
    lambda inner: st.dictionaries(KEYS, st.one_of(VALUES, inner), max_size=4),
    max_leaves=10,
)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """JSON in many layouts."""
    colon = draw(st.sampled_from([": ", ":", " : "]))
    indent = draw(st.sampled_from([None, 2, 4, "\t"]))
    comma = "," if indent else draw(st.sampled_from([", ", ","]))
    text = json.dumps(draw(MAPPINGS), indent=indent, separators=(comma, colon), ensure_ascii=False)
    return _ended(draw, text)


class NoAliases(yaml.SafeDumper):
    """Removing an anchor that an alias needs is refused; that has a case of its own."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    """YAML in many layouts: block and flow, indentations, quotes, comments, blank lines."""
    text = yaml.dump(
        draw(MAPPINGS),
        Dumper=NoAliases,
        default_flow_style=draw(st.sampled_from([None, False, False, True])),
        indent=draw(st.sampled_from([2, 4])),
        width=draw(st.sampled_from([20, 1000])),
        default_style=draw(st.sampled_from([None, None, None, '"', "'"])),
        sort_keys=False,
        allow_unicode=True,
    )
    lines = []
    for line in text.splitlines():
        # Where a line begins at the margin no text goes on over it.
        if (
            line[:1] not in (" ", "-", "", "}", "]", "'", '"')
            and "\n " not in text
            and "? " not in text
        ):
            lines += draw(st.sampled_from([[], [], ["# comment"], ["", "# two: lines", "#"]]))
        lines.append(line)
    return _ended(draw, "\n".join(lines))


def _ended(draw: st.DrawFn, text: str) -> str:
    text += draw(st.sampled_from(["", "\n", "\n"]))
    return text.replace("\n", "\r\n") if draw(st.integers(0, 9)) == 0 else text


FORMATS: dict[str, tuple[Edits, type[PatchArguments]]] = {
    "JSON": (JsonEdits(), JsonArguments),
    "YAML": (YamlEdits(), YamlArguments),
}
DOCUMENTS = st.one_of(
    st.tuples(st.just("JSON"), json_texts()), st.tuples(st.just("YAML"), yaml_texts())
)


def patched(kind: str, text: str, **arguments: Any) -> str:
    edits, model = FORMATS[kind]
    return edit(text, edits, model(path="/f", **arguments), "/f")


def parsed(kind: str, text: str) -> dict[str, Any]:
    return FORMATS[kind][0].parse(text, "/f")


def without_conflicts(data: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The patch without keys where a mapping would meet a value."""
    kept: dict[str, Any] = {}
    for name, value in patch.items():
        there = data.get(name)
        if there is None or isinstance(there, dict) == isinstance(value, dict):
            kept[name] = without_conflicts(there, value) if isinstance(there, dict) else value
    return kept


@settings(max_examples=60, deadline=None, derandomize=True)
@given(DOCUMENTS, MAPPINGS)
def test_set_means_the_merge_and_twice_is_once(
    document: tuple[str, str], patch: dict[str, Any]
) -> None:
    kind, text = document
    before = parsed(kind, text)
    patch = without_conflicts(before, patch)
    if not patch:
        return
    expected = deepcopy(before)
    merge(expected, patch)
    wanted = {key_text(key): value for key, value in patch.items()}
    after = patched(kind, text, set=wanted)
    assert same(parsed(kind, after), expected)
    assert patched(kind, after, set=wanted) == after
    if same(before, expected):
        assert after == text


@settings(max_examples=60, deadline=None, derandomize=True)
@given(DOCUMENTS, MAPPINGS)
def test_an_addition_keeps_every_line_and_can_be_taken_back(
    document: tuple[str, str], value: dict[str, Any]
) -> None:
    kind, text = document
    after = patched(kind, text, set={"new": value})
    back = patched(kind, after, remove=["new"])
    assert same(parsed(kind, back), parsed(kind, text))
    if parsed(kind, text):
        assert back.rstrip() == text.rstrip()
    if parsed(kind, text) and kind == "YAML" and "{" not in text:
        kept = iter(after.splitlines())
        assert all(any(line == other for other in kept) for line in text.splitlines())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(DOCUMENTS, st.data())
def test_removal_takes_only_its_key(document: tuple[str, str], data: st.DataObject) -> None:
    kind, text = document
    expected = parsed(kind, text)
    path: tuple[str, ...] = ()
    value: Any = expected
    while isinstance(value, dict) and value and (not path or data.draw(st.booleans())):
        path = (*path, data.draw(st.sampled_from(sorted(value))))
        value = value[path[-1]]
    if not path:
        return
    after = patched(kind, text, remove=[".".join(map(key_text, path))])
    assert find(parsed(kind, after), path, MISSING) is MISSING
    remove(expected, path)
    assert same(parsed(kind, after), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(DOCUMENTS, st.lists(st.one_of(TEXTS, st.integers(0, 3)), min_size=1, max_size=3))
def test_appended_once(document: tuple[str, str], items: list[Any]) -> None:
    kind, text = document
    after = patched(kind, text, append_unique={"list.of": items})
    there = find(parsed(kind, after), ("list", "of"))
    assert [item for n, item in enumerate(there) if item not in there[:n]] == there
    assert all(any(same(item, each) for each in there) for item in items)
    assert patched(kind, after, append_unique={"list.of": items}) == after


KUBELET = """\
# kubelet
authentication:
  anonymous:
    enabled: false   # keep
  webhook: {enabled: true}

clusterDNS:
- 10.0.0.10
# about the end
maxPods: 110
"""

LAYOUTS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a value keeps its comment": (
        "YAML",
        KUBELET,
        {"set": {"authentication.anonymous.enabled": True}},
        KUBELET.replace("enabled: false   # keep", "enabled: true   # keep"),
    ),
    "a flow mapping stays one": (
        "YAML",
        KUBELET,
        {"set": {"authentication.webhook.cacheTTL": "2m0s"}},
        KUBELET.replace("{enabled: true}", "{enabled: true, cacheTTL: 2m0s}"),
    ),
    "a new mapping goes behind its neighbours": (
        "YAML",
        KUBELET,
        {"set": {"authentication": {"x509": {"clientCAFile": "/ca"}}}},
        KUBELET.replace("true}\n", "true}\n  x509:\n    clientCAFile: /ca\n"),
    ),
    "an item goes behind the last one": (
        "YAML",
        KUBELET,
        {"append_unique": {"clusterDNS": ["10.0.0.10", "10.0.0.11"]}},
        KUBELET.replace("10.0.0.10\n", "10.0.0.10\n- 10.0.0.11\n"),
    ),
    "indented sequences stay indented": (
        "YAML",
        "a:\n    - 1\n",
        {"set": {"b": {"c": [1, {"d": 2, "e": 3}]}}, "append_unique": {"a": [[2]]}},
        "a:\n    - 1\n    - - 2\nb:\n  c:\n    - 1\n    - d: 2\n      e: 3\n",
    ),
    "a block of text goes as a whole": (
        "YAML",
        "a: |\n  one\n\n  two\n\nb: 1\n",
        {"remove": ["a"]},
        "\nb: 1\n",
    ),
    "the last key leaves an empty mapping": (
        "YAML",
        "a:\n  b: 1 # why\nc: 2\n",
        {"remove": ["a.b"]},
        "a: {} # why\nc: 2\n",
    ),
    "a new file": ("YAML", "", {"set": {"a.b": [1]}}, "a:\n  b:\n  - 1\n"),
    "only comments": ("YAML", "# head\n---\n", {"set": {"a": 1}}, "# head\n---\na: 1\n"),
    "a new JSON file": (
        "JSON",
        "",
        {"set": {"a": {"b": [1]}}},
        '{\n  "a": {\n    "b": [\n      1\n    ]\n  }\n}\n',
    ),
    "JSON as it is indented": (
        "JSON",
        '{\n    "a": {"b": 1},\n    "l": []\n}',
        {"set": {"a.c": 2, "d": {"e": 1}}, "append_unique": {"l": ["x"]}},
        '{\n    "a": {"b": 1, "c": 2},\n    "l": [\n        "x"\n    ],\n'
        '    "d": {\n        "e": 1\n    }\n}',
    ),
    "JSON on one line": (
        "JSON",
        '{"a":1,"b":[1]}',
        {"set": {"c": {"d": [1]}}, "remove": ["a"], "append_unique": {"b": [2]}},
        '{"b":[1,2],"c":{"d":[1]}}',
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str) -> None:
    kind, before, arguments, after = LAYOUTS[name]
    assert patched(kind, before, **arguments) == after


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "not JSON": ("JSON", '{\n"a": 1,}', {}, "/f is not valid JSON: .* line 2, column"),
    "JSON with comments": ("JSON", "{} // x", {}, "/f is not valid JSON"),
    "a JSON list": ("JSON", "[]", {}, "/f holds no JSON object, but list"),
    "a name twice": ("JSON", '{"a": 1, "a": 2}', {}, '"a" stands twice in one object'),
    "NaN": ("JSON", '{"a": NaN}', {}, "NaN is no value of JSON"),
    "deep JSON": ("JSON", '{"a":' * 90_000 + "1" + "}" * 90_000, {}, "nested too deeply"),
    "rather deep JSON": ("JSON", '{"a":' * 150 + "1" + "}" * 150, {}, "nested too deeply"),
    "not YAML": ("YAML", "a: [\nb: 1\n", {}, r"/f is not valid YAML: .* \(at line \d, column"),
    "a YAML list": ("YAML", "- a\n", {}, "/f holds no YAML mapping, but list"),
    "several documents": ("YAML", "a: 1\n---\nb: 1\n", {}, "/f is not valid YAML: "),
    "a key twice": ("YAML", "a: 1\nb:\n  c: 1\n  c: 2\n", {}, r"'c' stands twice .*line 4"),
    "a tag of one's own": ("YAML", "a: !vault x\n", {}, "could not determine a constructor"),
    "deep YAML": ("YAML", "[" * 5000 + "]" * 5000, {}, "nested too deeply"),
    "control characters": ("YAML", "a: \x01\n", {}, "/f cannot be edited: unacceptable character"),
    "an alias would carry it elsewhere": (
        "YAML",
        "a: &x {k: 1}\nb: *x\n",
        {"set": {"a.k": 2}},
        "cannot be edited safely",
    ),
    "an anchor that an alias needs": (
        "YAML",
        "a: &x [1]\nb: *x\n",
        {"remove": ["a"]},
        "cannot be edited safely",
    ),
    "a merged key": (
        "YAML",
        "x: &x {k: 1}\na:\n  <<: *x\n",
        {"remove": ["a.k"]},
        "a key that comes from another mapping",
    ),
    "a mapping over a value": ("YAML", "a: 1\n", {"set": {"a.b": 1}}, "a is a value, a table is"),
    "no list": ("JSON", '{"a": 1}', {"append_unique": {"a": [1]}}, "a is not an array"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    kind, text, arguments, message = REFUSED[name]
    with pytest.raises(Refused, match=message):
        patched(kind, text, **(arguments or {"set": {"z": 1}}))


def test_aliases_that_explode_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(Refused, match="holds more than 1000000 values"):
        patched("YAML", "\n".join(lines), set={"z": 1})
    with pytest.raises(Refused, match="nested too deeply"):
        patched("YAML", "a: &a [*a]\n", set={"z": 1})


def test_a_merged_key_can_be_overridden_in_its_place() -> None:
    text = "x: &x {k: 1}\na:\n  <<: *x\n  b: 2\n"
    assert patched("YAML", text, set={"a.k": 3}) == text + "  k: 3\n"


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (JsonArguments, {}, "at least one of set, remove, append_unique"),
        (JsonArguments, {"set": {"a": b"x"}}, "bytes has no counterpart in JSON"),
        (YamlArguments, {"set": {"a": {1: 2}}}, "must be a text; quote it"),
        (YamlArguments, {"set": {"a b": 1}}, "is not a TOML key"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(
    model: type[PatchArguments], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        model(path="/f", **values)
