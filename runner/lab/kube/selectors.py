"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from runner.lab.kube.failures import bad_request
from runner.lab.kube.kinds import Json, Kind

Labels = Mapping[str, str]
Matches = Callable[[Json], bool]

_NAME = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_EXISTS = re.compile(rf"^(!?)\s*({_NAME})$")
_EQUALS = re.compile(rf"^({_NAME})\s*(==|=|!=)\s*([-A-Za-z0-9_.]*)$")
_SET = re.compile(rf"^({_NAME})\s+(in|notin)\s+\(([^()]*)\)$")
_SET_WITHOUT_BRACKET = re.compile(rf"^{_NAME}\s+(?:in|notin)\s+(\S+)$")

FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Pod": {
        "spec.nodeName": ("spec", "nodeName"),
        "status.phase": ("status", "phase"),
        "spec.restartPolicy": ("spec", "restartPolicy"),
        "spec.schedulerName": ("spec", "schedulerName"),
        "spec.serviceAccountName": ("spec", "serviceAccountName"),
        "status.podIP": ("status", "podIP"),
        "status.nominatedNodeName": ("status", "nominatedNodeName"),
    },
    "Node": {"spec.unschedulable": ("spec", "unschedulable")},
    "Namespace": {"status.phase": ("status", "phase")},
    "Event": {
        "involvedObject.kind": ("involvedObject", "kind"),
        "involvedObject.name": ("involvedObject", "name"),
        "involvedObject.namespace": ("involvedObject", "namespace"),
        "involvedObject.uid": ("involvedObject", "uid"),
        "reason": ("reason",),
        "type": ("type",),
    },
}
_METADATA = {"metadata.name": ("metadata", "name"), "metadata.namespace": ("metadata", "namespace")}


def label_selector(text: str) -> Callable[[Labels], bool]:
    """A label selector as kubectl's -l takes it: `a=b`, `a!=b`, `a in (b,c)`, `a`, `!a`."""
    terms = [_label_term(term.strip()) for term in _split(text)]
    return lambda labels: all(term(labels) for term in terms)


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets."""
    return [term for term in re.split(r",(?![^()]*\))", text) if term.strip()]


def _label_term(term: str) -> Callable[[Labels], bool]:
    if found := _EXISTS.match(term):
        absent, key = bool(found[1]), found[2]
        return lambda labels: (key in labels) != absent
    if found := _EQUALS.match(term):
        key, negative, value = found[1], found[2] == "!=", found[3]
        return lambda labels: (labels.get(key) == value) != negative
    if found := _SET.match(term):
        key, negative = found[1], found[2] == "notin"
        values = {value.strip() for value in found[3].split(",")}
        return lambda labels: (labels.get(key) in values) != negative
    if found := _SET_WITHOUT_BRACKET.match(term):
        raise bad_request(f"unable to parse requirement: found '{found[1]}' expected: '('")
    raise bad_request(f"unable to parse requirement: invalid label selector {term!r}")


def object_selector(selector: Json | None) -> Callable[[Labels], bool]:
    """A selector written in an object: matchLabels and matchExpressions. None matches nothing."""
    if selector is None:
        return lambda labels: False
    return label_selector(selector_text(selector))


def _expression(expression: Json) -> str:
    key, operator = expression["key"], expression["operator"]
    values = ",".join(expression.get("values", ()))
    forms = {"Exists": key, "DoesNotExist": f"!{key}"}
    return forms.get(operator) or f"{key} {operator.lower()} ({values})"


def selector_text(selector: Json) -> str:
    """A selector of an object in the form that a request takes it."""
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    terms += [_expression(expression) for expression in selector.get("matchExpressions") or ()]
    return ",".join(terms)


def field_selector(kind: Kind, text: str) -> Matches:
    """A field selector: the few fields the real API can select by."""
    known = {**_METADATA, **FIELDS.get(kind.name, {})}
    terms: list[tuple[tuple[str, ...], bool, str]] = []
    for term in filter(None, text.split(",")):
        field, negative, value = _field_term(term)
        if field not in known:
            raise bad_request(f"field label not supported: {field}")
        terms.append((known[field], negative, value))
    return lambda item: all(
        (_text(item, path) == value) != negative for path, negative, value in terms
    )


def _field_term(term: str) -> tuple[str, bool, str]:
    for operator, negative in (("!=", True), ("==", False), ("=", False)):
        field, found, value = term.partition(operator)
        if found:
            return field, negative, value
    raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")


def _text(item: Json, path: tuple[str, ...]) -> str:
    value: object = item
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None and path[-1] != "unschedulable" else str(value or "false")


def matcher(kind: Kind, labels: str, fields: str) -> Matches:
    """Both selectors of a request as one test of an object."""
    by_label, by_field = label_selector(labels), field_selector(kind, fields)
    return lambda item: by_label(item["metadata"].get("labels") or {}) and by_field(item)
