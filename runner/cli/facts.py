"""gpurun facts: what is true of hosts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import become_option, inventory_option, limit_option, vault_options

if TYPE_CHECKING:
    from runner.inventory.model import Host


@click.command()
@click.argument("names", nargs=-1)
@inventory_option
@limit_option
@become_option
@vault_options
def facts(
    names: tuple[str, ...],
    inventories: tuple[str, ...],
    limit: str | None,
    ask_become_pass: bool,
    vault: tuple[str, ...],
) -> int:
    """Read facts NAMES (default: all) of all hosts and print them as JSON by host."""
    from runner.cli.rootless import cross_over
    from runner.cli.work import become_password, use_vault
    from runner.errors import InputError, Problem
    from runner.facts.base import FACTS
    from runner.inventory.load import load_inventory, select
    from runner.secrets.redact import KNOWN

    for name in names:
        if name not in FACTS:
            known = ", ".join(FACTS)
            raise InputError([Problem(f"there is no fact '{name}'", hint=f"facts: {known}")])
    password = become_password(ask_become_pass)
    use_vault(vault)
    KNOWN.add(password, "sudo password", everyday=True)
    hosts = select(load_inventory(inventories, Path.cwd()), "all", limit)
    cross_over(hosts)
    wanted = names or tuple(FACTS)
    with ThreadPoolExecutor(32) as pool:
        values = list(pool.map(lambda host: _facts_of(host, wanted, password), hosts))
    found = {host.name: value for host, value in zip(hosts, values, strict=True)}
    click.echo(json.dumps(KNOWN.data(found), indent=2, default=str))
    return 1 if any("unreachable" in value for value in values) else 0


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
