"""Every example of every module is a task that loads."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from runner.modules.registry import MODULES, load_module
from runner.playbook.load import load_playbook_text

EXAMPLES = [(name, example) for name in MODULES for example in load_module(name).examples]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_example_is_a_valid_playbook(name: str, example: str, tmp_path: Path) -> None:
    section = "" if example.startswith("handlers:") else "tasks:\n"
    task = example if example.startswith(("-", "handlers:")) else f"- {indent(example, '  ')[2:]}"
    notify = "tasks:\n  - {debug: hello, notify: HANDLER}\n" if not section else ""
    body = indent(section + task.rstrip() + "\n" + notify, "  ")
    if notify:
        handler = example.split("name: ")[1].splitlines()[0]
        body = body.replace("HANDLER", handler)
    playbook = load_playbook_text(f"- hosts: all\n{body}", tmp_path / "example.yaml")
    play = playbook.plays[0]
    assert name in {task.module for task in (*play.tasks, *play.handlers)}


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_examples_and_describes_each_argument(name: str) -> None:
    module = load_module(name)
    assert module.examples
    assert module.name == name
    assert type(module).__doc__
    for argument, field in module.arguments.model_fields.items():
        assert field.description, argument
