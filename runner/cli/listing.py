"""`--list-hosts`, `--list-tasks` and `--list-tags` of plan and apply: what a run is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from runner.cli.options import RunOptions
    from runner.inventory.model import Host
    from runner.playbook.document import Play, Task

F = TypeVar("F", bound=Callable[..., Any])
KINDS = ("hosts", "tasks", "tags")
_SECTIONS = ("preconditions", "tasks", "handlers", "verify")


def list_options(command: F) -> F:
    """The options of plan and apply that show what a run would be about, and stop."""
    for kind in reversed(KINDS):
        said = f"Show the {kind} of each play and stop; no host is touched."
        command = click.option(f"--list-{kind}", is_flag=True, help=said)(command)
    return command


def asked_for(given: dict[str, Any]) -> tuple[str, ...]:
    """The kinds that were asked for, taken out of a command's options."""
    return tuple(kind for kind in KINDS if given.pop(f"list_{kind}", False))


def show(options: RunOptions, kinds: Sequence[str], output: str) -> int:
    """Print what the run would be about, as text or as JSON.

    Raises:
        InputError: playbook, inventory or variables are wrong.
    """
    from runner.cli.options import extra_variables
    from runner.cli.work import terminal
    from runner.engine.waves import ordered
    from runner.inventory.load import load_inventory, select
    from runner.playbook.load import load_playbook
    from runner.playbook.tags import select_tags

    playbook = load_playbook(Path(options.playbook), extra_variables(options.extra))
    playbook = select_tags(playbook, options.tags, options.skip_tags)
    inventory = load_inventory(options.inventories, Path(options.project))
    found = [
        _about(play, ordered(select(inventory, play.hosts, options.limit), play.order), kinds)
        for play in playbook.plays
    ]
    if output == "json":
        import json

        click.echo(json.dumps({"plays": found}, indent=2))
        return 0
    say = terminal(output)
    for line in (line for play in found for line in _lines(play)):
        say.line(line)
    return 0


def _about(play: Play, hosts: Sequence[Host], kinds: Sequence[str]) -> dict[str, Any]:
    """A play as plain data, with the kinds that were asked for."""
    tasks = {section: getattr(play, section) for section in _SECTIONS}
    every = [task for section in tasks.values() for task in section]
    found = {
        "hosts": [host.name for host in hosts],
        "tasks": {
            section: [{"name": task.name, "tags": list(task.tags)} for task in of_section]
            for section, of_section in tasks.items()
            if of_section
        },
        "tags": sorted({tag for task in every for tag in _tags(task)}),
    }
    return {"play": play.name, **{kind: found[kind] for kind in kinds}}


def _tags(task: Task) -> set[str]:
    return {tag for tags in (task.tags, *task.include_tags) for tag in tags}


def _lines(play: Mapping[str, Any]) -> Iterator[str]:
    yield f"Play: {play['play']}"
    if "hosts" in play:
        yield f"  hosts: {', '.join(play['hosts']) or 'none'}"
    for section, tasks in play.get("tasks", {}).items():
        yield f"  {section}:"
        for task in tasks:
            tags = f"  [{', '.join(task['tags'])}]" if task["tags"] else ""
            yield f"    {task['name']}{tags}"
    if "tags" in play:
        yield f"  tags: {', '.join(play['tags']) or 'none'}"
