"""notify and listen: which handlers a task means."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.playbook.document import Play
from runner.playbook.load import load_playbook_text

HANDLERS = """
  handlers:
    - {name: one, command: x, listen: topic}
    - {name: two, command: x, listen: [topic, other]}
    - {name: other, command: x}
"""


def play(tasks: str) -> Play:
    return load_playbook_text(f"- hosts: all\n  tasks:\n{tasks}{HANDLERS}", Path("p.yaml")).plays[0]


@pytest.mark.parametrize(
    ("notify", "handlers"),
    [
        ("one", ("one",)),
        ("[one, two]", ("one", "two")),
        ("topic", ("one", "two")),
        ("other", ("other", "two")),
        ("[topic, two, one]", ("one", "two")),
    ],
)
def test_by_name_and_by_topic(notify: str, handlers: tuple[str, ...]) -> None:
    assert play(f"    - {{command: x, notify: {notify}}}\n").tasks[0].notify == handlers


def test_a_block_notifies_for_its_tasks() -> None:
    tasks = "    - notify: topic\n      block: [{command: x, notify: other}, {command: y}]\n"
    first, second = play(tasks).tasks
    assert first.notify == ("one", "two", "other")
    assert second.notify == ("one", "two")
