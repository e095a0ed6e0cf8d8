"""What the shell offers for a word: names of playbooks, inventories, modules and facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def playbooks(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Playbooks of the project and shipped ones by name; files where a path is begun."""
    from runner.cli.project import project_folder
    from runner.playbook.find import known_playbooks

    names = _beginning(known_playbooks(project_folder()), incomplete)
    return names or _files(incomplete)


def inventories(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Inventories of the project by name; files where a path is begun."""
    from runner.cli.project import project_folder
    from runner.inventory.sources import available

    names = _beginning(available(project_folder()), incomplete)
    return names or _files(incomplete)


def topics(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What `gpurun doc` knows."""
    from runner.modules.registry import MODULES

    return _beginning(["facts", *MODULES], incomplete)


def facts(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of facts."""
    from runner.facts.base import FACTS

    return _beginning(FACTS, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[CompletionItem]:
    """Leaves it to the shell to offer files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]
