"""gpurun nodes and gpurun unlock: who works on which node, and ending the lock of a dead run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import (
    context_option,
    inventory_option,
    kubeconfig_option,
    limit_option,
    output_option,
    vault_options,
)
from runner.cli.project import project_folder

if TYPE_CHECKING:
    from runner.engine.clusters import Clusters
    from runner.inventory.model import Host


@click.command()
@inventory_option
@limit_option
@kubeconfig_option
@context_option
@vault_options
@output_option
def nodes(
    inventories: tuple[str, ...],
    limit: str | None,
    kubeconfig: str | None,
    context: str | None,
    vault: tuple[str, ...],
    output: str,
) -> int:
    """Show every node of the inventory: ready, cordoned by which run, locked by whom, GPUs used
    and offered, and the marks of gpurun on it; who holds the lock of a cluster's rollout; and what
    to run for nodes that are out of service.

    Exit codes: 0, or 1 where a node could not be read.
    """
    from runner.cli.work import terminal, use_vault
    from runner.inventory.load import load_inventory, select
    from runner.reports.nodes import advice, node_data, rollouts, table

    use_vault(vault)
    hosts = select(load_inventory(inventories, project_folder()), "all", limit)
    clusters = _clusters(hosts, kubeconfig, context)
    now = datetime.now(UTC)
    found = [
        node_data(host.name, clusters.node(host), clusters.lock(host), clusters.rollout(host), now)
        for host in hosts
    ]
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        say = terminal(output)
        for line in [*table(found), *rollouts(found), *advice(found)]:
            say.line(line)
    return 1 if any("unknown" in node for node in found) else 0


def _clusters(hosts: Sequence[Host], kubeconfig: str | None, context: str | None) -> Clusters:
    from runner.engine.clusters import Clusters

    return Clusters(hosts, Path(kubeconfig) if kubeconfig else None, context)


@click.command()
@click.argument("node")
@inventory_option
@kubeconfig_option
@context_option
@vault_options
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept on the lock.")
@click.option("--force", is_flag=True, help="Even if the holder may be alive: it will stop.")
@click.option("--rollout", is_flag=True, help="The lock of the rollout on NODE's cluster.")
def unlock(
    node: str,
    inventories: tuple[str, ...],
    kubeconfig: str | None,
    context: str | None,
    vault: tuple[str, ...],
    reason: str,
    force: bool,
    rollout: bool,
) -> int:
    """End the lock that a dead run left on NODE, and say what else that run left there. Of a host
    without a cluster it is the file /run/gpurun/lock.

    Refused while the holder may still be working: its process is alive on this machine, or its
    lock has not run out. A run that can be resumed needs no unlock: gpurun resume takes its own
    lock over.
    """
    from runner.cli.work import terminal, use_vault
    from runner.engine.unlocking import unlock_node
    from runner.inventory.load import load_inventory

    if not reason.strip():
        raise click.UsageError("--reason must say why")
    use_vault(vault)
    hosts = load_inventory(inventories, project_folder()).hosts.values()
    clusters = _clusters(list(hosts), kubeconfig, context)
    say = terminal("terminal")
    for line in unlock_node(clusters, list(hosts), node, reason, force, rollout):
        say.line(line)
    return 0
