"""How a play goes over its hosts: waves, how many may fail, and their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.playbook.document import Seq
from runner.playbook.fields import Fields
from runner.playbook.keywords import similar

_DEFAULT_WAVES = ("1", "100%")
ORDERS = ("inventory", "sorted", "reverse_inventory", "reverse_sorted")


@dataclass(frozen=True, slots=True)
class Rollout:
    """Sizes of waves, and how many hosts may fail: a number, or a percentage where that is set."""

    waves: tuple[str, ...]
    max_failed: int
    max_failed_percent: float | None


def read_rollout(fields: Fields) -> Rollout:
    """From `rollout`, or from Ansible's `serial` and `max_fail_percentage`."""
    rollout = Fields(fields.mapping("rollout"), "rollout", fields.problems)
    rollout.unknown_keys(("waves", "max_failed"), {})
    _same(fields, "serial", rollout, "waves")
    _same(fields, "max_fail_percentage", rollout, "max_failed")
    waves = _waves(rollout, "waves") or _waves(fields, "serial") or _DEFAULT_WAVES
    percent = _percent(fields, "max_fail_percentage")
    text = rollout.values.get("max_failed")
    if isinstance(text, str) and text.endswith("%"):
        count, percent = 0, _percent(rollout, "max_failed")
    else:
        count = rollout.count("max_failed", 0)
    if fields.flag("any_errors_fatal") and (count or percent):
        where = fields.values.where("any_errors_fatal")
        hint = "Keep one of them."
        fields.note("any_errors_fatal: true, but some hosts may fail", where, hint)
    return Rollout(waves, count, percent)


def _same(fields: Fields, key: str, rollout: Fields, own: str) -> None:
    if key in fields.values and own in rollout.values:
        message = f"{key} and rollout.{own} say the same"
        fields.note(message, fields.values.where(key), f"Keep rollout.{own}.")


def _percent(fields: Fields, key: str) -> float | None:
    """A percentage from 0 to 100, as a number or a text with or without %."""
    value = fields.values.get(key)
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", str(value))
    if match and not isinstance(value, bool) and float(match[1]) <= 100:
        return float(match[1])
    fields.expected(key, "a percentage from 0 to 100", "Write 10, or 12.5.")
    return None


def read_order(fields: Fields) -> str:
    """In which order the hosts go."""
    order = fields.plain_text("order") or ORDERS[0]
    if order in ORDERS:
        return order
    hint = similar(order, ORDERS)
    if order == "shuffle":
        hint = "Each look would show another plan: choose one of them."
    fields.expected("order", f"one of {', '.join(ORDERS)}", hint)
    return ORDERS[0]


def _waves(fields: Fields, key: str) -> tuple[str, ...]:
    """Sizes of waves: numbers of hosts, or percentages of the play's hosts."""
    value = fields.values.get(key)
    if value is None:
        return ()
    items: Sequence[Any] = value if isinstance(value, Seq) else [value]
    sizes = tuple("" if isinstance(item, bool) else str(item).strip() for item in items)
    if sizes and all(_is_size(size) for size in sizes):
        return sizes
    fields.note(
        f"{key}: expected numbers of hosts or percentages",
        fields.values.where(key),
        'Write, for example: [1, "25%", "100%"].',
    )
    return ()


def _is_size(size: str) -> bool:
    match = re.fullmatch(r"(\d{1,6})(%?)", size)
    return bool(match) and 0 < int(size.rstrip("%")) <= (100 if size.endswith("%") else 10**6)
