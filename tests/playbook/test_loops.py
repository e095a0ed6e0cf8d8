"""Loops in all their forms, and what loop_control makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from runner.playbook.document import LoopControl
from runner.playbook.loops import Form, items_of, rounds


@pytest.mark.parametrize(
    ("form", "value", "items"),
    [
        ("list", [1, [2, 3]], [1, [2, 3]]),
        ("list", "text", None),
        ("list", {"a": 1}, None),
        ("items", [1, [2, [3]]], [1, 2, [3]]),
        ("items", "one", ["one"]),
        ("dict", {"a": 1}, [{"key": "a", "value": 1}]),
        ("dict", [1], None),
    ],
)
def test_what_a_loop_goes_through(form: Form, value: Any, items: Any) -> None:
    assert items_of(value, form) == items


def test_the_item_and_its_number_by_the_names_that_are_wanted() -> None:
    control = LoopControl(loop_var="one", index_var="n")
    assert list(rounds(["a", "b"], control)) == [{"one": "a", "n": 0}, {"one": "b", "n": 1}]


def test_the_extended_variables_are_ansibles() -> None:
    """Values as Ansible's documentation of `extended` defines them."""
    first, middle, last = rounds(["a", "b", "c"], LoopControl(extended=True))
    assert middle["ansible_loop"] == {
        "index": 2,
        "index0": 1,
        "revindex": 2,
        "revindex0": 1,
        "first": False,
        "last": False,
        "length": 3,
        "allitems": ["a", "b", "c"],
        "previtem": "a",
        "nextitem": "c",
    }
    assert "previtem" not in first["ansible_loop"] and first["ansible_loop"]["first"]
    assert "nextitem" not in last["ansible_loop"] and last["ansible_loop"]["last"]


def test_without_all_items() -> None:
    (only,) = rounds(["a"], LoopControl(extended=True, allitems=False))
    assert "allitems" not in only["ansible_loop"]
