"""gpurun capacity: what GPUs are offered, used and free."""

from __future__ import annotations

import json
from pathlib import Path

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


@click.command()
@inventory_option
@limit_option
@kubeconfig_option
@context_option
@vault_options
@output_option
def capacity(
    inventories: tuple[str, ...],
    limit: str | None,
    kubeconfig: str | None,
    context: str | None,
    vault: tuple[str, ...],
    output: str,
) -> int:
    """Show the GPUs of every node of the inventory by kind: allocatable, used by pods, and free,
    with totals. Nothing is free on a node that is cordoned or not Ready.

    Exit codes: 0, or 1 where a node could not be read.
    """
    from runner.cli.work import terminal, use_vault
    from runner.engine.clusters import Clusters
    from runner.facts.kubernetes import NO_CLUSTER
    from runner.inventory.load import load_inventory, select
    from runner.kube.state import NodeState
    from runner.modules.base import Unknown
    from runner.reports.capacity import Capacity, as_data, of_node, table

    use_vault(vault)
    hosts = select(load_inventory(inventories, project_folder()), "all", limit)
    clusters = Clusters(hosts, Path(kubeconfig) if kubeconfig else None, context)
    rows: list[Capacity] = []
    unknown: dict[str, str] = {}
    for host in hosts:
        node = clusters.node(host)
        try:
            if not isinstance(node, NodeState):
                raise node or Unknown(NO_CLUSTER)
            rows += of_node(node)
        except Unknown as error:
            unknown[host.name] = str(error)
    if output == "json":
        click.echo(json.dumps(as_data(rows, unknown), indent=2))
    else:
        say = terminal(output)
        for line in table(rows, unknown):
            say.line(line)
    return 1 if unknown else 0
