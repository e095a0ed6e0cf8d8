"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from runner.errors import InputError, Problem

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What plan and apply were asked for; kept in the journal so that `resume` can go on."""

    playbook: str
    inventories: tuple[str, ...]
    project: str
    limit: str | None = None
    extra: tuple[str, ...] = ()
    kubeconfig: str | None = None
    context: str | None = None
    forks: int = 32
    connect_timeout: float = 10.0
    lock_timeout: float = 0.0
    yes: bool = False

    def as_arguments(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> RunOptions:
        lists = {key: tuple(arguments[key]) for key in ("inventories", "extra")}
        return cls(**{**arguments, **lists})


inventory_option = click.option(
    "-i",
    "--inventory",
    "inventories",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Inventory: NAME in inventory/, a path, or host1,host2, (repeatable).",
)
limit_option = click.option("-l", "--limit", metavar="PATTERN", help="Only these hosts or groups.")
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["terminal", "json"]),
    default="terminal",
    help="json: one object on stdout, progress on stderr.",
)
become_option = click.option(
    "-K", "--ask-become-pass", is_flag=True, help="Ask for the sudo password (never an argument)."
)


def run_options(command: F) -> F:
    """The options of plan and apply."""
    for option in reversed(
        (
            click.argument("playbook", type=click.Path()),
            inventory_option,
            limit_option,
            click.option(
                "-e",
                "--extra-vars",
                "extra",
                multiple=True,
                metavar="K=V|JSON|@FILE",
                help="Variables that win over all others (repeatable).",
            ),
            click.option("--kubeconfig", metavar="FILE", help="The cluster the hosts belong to."),
            click.option("--context", metavar="NAME", help="Context in the kubeconfig."),
            click.option(
                "-f",
                "--forks",
                type=click.IntRange(1, 1000),
                default=32,
                show_default=True,
                help="Hosts worked on at once.",
            ),
            click.option(
                "--connect-timeout",
                type=click.FloatRange(1),
                default=10.0,
                show_default=True,
                metavar="SECONDS",
            ),
            become_option,
            output_option,
        )
    ):
        command = option(command)
    return command


def extra_variables(given: tuple[str, ...]) -> dict[str, Any]:
    """`-e` values: name=value (text), a JSON object, or @file with YAML or JSON."""
    import yaml

    from runner.playbook.templates import source

    found: dict[str, Any] = {}
    for text in given:
        if text.startswith("@"):
            found.update(_mapping(_read(Path(text[1:])), text))
        elif text.lstrip().startswith("{"):
            try:
                found.update(_mapping(yaml.safe_load(text), text))
            except yaml.YAMLError as error:
                raise InputError([Problem(f"-e {text}: not JSON: {error}")]) from None
        elif "=" in text:
            name, _, value = text.partition("=")
            found[name.strip()] = value
        else:
            raise InputError([Problem(f"-e {text}: neither name=value, JSON nor @file")])
    made: dict[str, Any] = source(found)
    return dict(made)


def _read(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError([Problem(f"-e @{path}: {error}")]) from None


def _mapping(value: Any, text: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError([Problem(f"-e {text}: a mapping of names to values is needed")])
    return {str(key): item for key, item in value.items()}
