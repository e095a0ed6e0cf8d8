"""Loops: `loop`, those `with_...` that mean the same, and `loop_control`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from runner.playbook.document import LoopControl, Map, Seq, TemplateText
from runner.playbook.fields import Fields, settled
from runner.playbook.keywords import LOOP_CONTROL_KEYS, REFUSED_LOOP_CONTROL_KEYS
from runner.secrets.redact import KNOWN

Form = Literal["list", "items", "dict"]
_FORMS: dict[str, Form] = {
    "loop": "list",
    "with_list": "list",
    "with_items": "items",
    "with_dict": "dict",
}
_TAKEN = ("facts", "groups", "group_names", "inventory_hostname", "hostvars")


@dataclass(frozen=True, slots=True)
class Loop:
    """A task's loop as written. `value` is a list, a mapping (`with_dict`) or a template."""

    value: Any = None
    form: Form = "list"
    control: LoopControl = field(default_factory=LoopControl)


def read_loop(fields: Fields) -> Loop:
    """The loop of a task or an include; mistakes are noted."""
    keys = [key for key in fields.values if key in _FORMS]
    if len(keys) > 1:
        message = f"a task has one loop, this one has {' and '.join(keys)}"
        fields.note(message, fields.values.keys_at.get(keys[1]), "Keep one of them.")
    control = _control(fields)
    if not keys:
        if "loop_control" in fields.values:
            fields.note("loop_control without a loop", fields.values.keys_at.get("loop_control"))
        return Loop()
    return Loop(_value(fields, keys[0]), _FORMS[keys[0]], control)


def _value(fields: Fields, key: str) -> Any:
    value, form = fields.values[key], _FORMS[key]
    if isinstance(value, (TemplateText, Map) if form == "dict" else (TemplateText, Seq)):
        return settled(value)
    if form == "dict":
        fields.expected(key, "a mapping or a template giving one")
        return None
    hint = 'Write loop: ["a", "b"] or loop: "{{ a_list }}"'
    if isinstance(value, Map):
        hint = 'Write loop: "{{ mapping | dict2items }}"; item.key and item.value.'
    fields.expected(key, "a list or a template giving one", hint)
    return None


def _control(fields: Fields) -> LoopControl:
    given = Fields(fields.mapping("loop_control"), "loop_control", fields.problems)
    given.unknown_keys(LOOP_CONTROL_KEYS, REFUSED_LOOP_CONTROL_KEYS)
    allitems = given.flag("extended_allitems")
    return LoopControl(
        loop_var=_variable(given, "loop_var") or "item",
        index_var=_variable(given, "index_var"),
        label=given.values.get("label"),
        extended=given.flag("extended") or False,
        allitems=True if allitems is None else allitems,
    )


def _variable(given: Fields, key: str) -> str:
    name = given.plain_text(key)
    if name and (not name.isidentifier() or name in _TAKEN):
        hint = f"Use letters, digits and _, not beginning with a digit; not {', '.join(_TAKEN)}."
        given.note(f"{key}: {name!r} cannot be a variable's name", given.values.where(key), hint)
        return ""
    return name


def items_of(rendered: Any, form: Form) -> list[Any] | None:
    """The items of an evaluated loop; None where it is nothing to go through.

    `with_items` takes the lists in its list apart, one level deep, and a single value as a list of
    one; `with_dict` gives `key` and `value` of each entry (Ansible's documentation of both).
    """
    if form == "dict":
        if not isinstance(rendered, Mapping):
            return None
        return [{"key": key, "value": value} for key, value in rendered.items()]
    if form == "items":
        whole = rendered if isinstance(rendered, list | tuple) else [rendered]
        lists = [item if isinstance(item, list | tuple) else [item] for item in whole]
        return [item for items in lists for item in items]
    return list(rendered) if isinstance(rendered, list | tuple) else None


def rounds(items: Sequence[Any], control: LoopControl) -> Iterator[dict[str, Any]]:
    """The variables that each round of a loop adds: the item, its number, `ansible_loop`."""
    for number, item in enumerate(items):
        added = {control.loop_var: item}
        if control.index_var:
            added[control.index_var] = number
        if control.extended:
            added["ansible_loop"] = _extended(items, number, control.allitems)
        yield added


def _extended(items: Sequence[Any], number: int, allitems: bool) -> dict[str, Any]:
    """`ansible_loop` as Ansible's documentation of extended loop variables describes it."""
    last = len(items) - 1
    made: dict[str, Any] = {
        "index": number + 1,
        "index0": number,
        "revindex": last - number + 1,
        "revindex0": last - number,
        "first": number == 0,
        "last": number == last,
        "length": len(items),
    }
    if allitems:
        made["allitems"] = list(items)
    if number > 0:
        made["previtem"] = items[number - 1]
    if number < last:
        made["nextitem"] = items[number + 1]
    return made


def shortened(item: Any) -> str:
    """An item as it is shown beside a task's name."""
    text = KNOWN(str(item))
    return text if len(text) <= 40 else text[:37] + "..."
