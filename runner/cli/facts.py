"""gpurun facts: what is true of hosts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from runner.cli import complete
from runner.cli.options import (
    become_option,
    inventory_option,
    limit_option,
    user_option,
    vault_options,
)
from runner.cli.project import project_folder

if TYPE_CHECKING:
    from runner.inventory.model import Host, Inventory


@click.command()
@click.argument("what", nargs=-1, metavar="[HOST|FACT]...", shell_complete=complete.facts)
@inventory_option
@limit_option
@click.option(
    "--only",
    multiple=True,
    metavar="FACT",
    shell_complete=complete.facts,
    help="Only this fact (repeatable).",
)
@user_option
@become_option
@vault_options
def facts(
    what: tuple[str, ...],
    inventories: tuple[str, ...],
    limit: str | None,
    only: tuple[str, ...],
    user: str | None,
    ask_become_pass: bool,
    vault: tuple[str, ...],
) -> int:
    """Read facts and print them as JSON by host.

    A word is the name of a fact, or a pattern of hosts and groups. Without facts all are read,
    without hosts those of all hosts.
    """
    from runner.cli.rootless import cross_over
    from runner.cli.work import become_password, use_vault
    from runner.errors import InputError, Problem
    from runner.facts.base import FACTS
    from runner.inventory.load import load_inventory, select
    from runner.playbook.keywords import nearest
    from runner.secrets.redact import KNOWN

    for name in only:
        if name not in FACTS:
            hint = nearest(name, FACTS)
            raise InputError([Problem(f"--only {name}: there is no such fact", hint=hint)])
    use_vault(vault)
    inventory = load_inventory(inventories, project_folder()).with_login(user)
    names, pattern = _told_apart(what, inventory)
    hosts = select(inventory, pattern or "all", limit)
    password = become_password(ask_become_pass)
    KNOWN.add(password, "sudo password", everyday=True)
    cross_over(hosts)
    wanted = tuple(dict.fromkeys((*only, *names))) or tuple(FACTS)
    with ThreadPoolExecutor(32) as pool:
        values = list(pool.map(lambda host: _facts_of(host, wanted, password), hosts))
    found = {host.name: value for host, value in zip(hosts, values, strict=True)}
    click.echo(json.dumps(KNOWN.data(found), indent=2, default=str))
    return 1 if any("unreachable" in value for value in values) else 0


def _told_apart(words: Sequence[str], inventory: Inventory) -> tuple[list[str], str]:
    """Names of facts, and the pattern that the other words are.

    Raises:
        InputError: a word that is both, or neither.
    """
    from runner.errors import InputError, Problem
    from runner.facts.base import FACTS
    from runner.playbook.keywords import nearest

    here = {*inventory.hosts, *inventory.groups}
    problems = []
    for word in words:
        if word in FACTS and word in here:
            hint = f"Write --only {word} for the fact, --limit {word} for the hosts."
            problems.append(Problem(f"'{word}' is both a fact and a host or group", hint=hint))
        elif word not in FACTS and word not in here and word.isidentifier():
            hint = nearest(word, {*FACTS, *here})
            problems.append(Problem(f"there is no fact, host or group '{word}'", hint=hint))
    if problems:
        raise InputError(problems)
    names = [word for word in words if word in FACTS]
    return names, ":".join(word for word in words if word not in FACTS)


def _facts_of(host: Host, names: tuple[str, ...], password: str | None) -> dict[str, Any]:
    from runner.engine.clusters import Clusters
    from runner.engine.observe import look
    from runner.errors import GpurunError
    from runner.facts.base import load_fact
    from runner.hosts.connection import Connection
    from runner.modules.base import Unknown

    chosen = [load_fact(name) for name in names]
    try:
        with Connection(host, become_password=password) as connection:
            states = look(connection, [fact.probe for fact in chosen if fact.probe])
    except GpurunError as error:
        return {"unreachable": str(error)}
    made: dict[str, Any] = {}
    for fact in chosen:
        state = states[fact.probe.key] if fact.probe else Clusters([host]).node(host)
        if state is None:
            state = Unknown("no cluster is configured")
        made[fact.name] = (
            {"unknown": str(state)} if isinstance(state, Unknown) else fact.export(state)
        )
    return made
