"""gpurun inventory: hosts, groups, variables and where each was set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from runner.cli.options import inventory_option, limit_option, vault_options
from runner.cli.project import project_folder


@click.command()
@inventory_option
@limit_option
@click.option("--list", "as_json", is_flag=True, help="Everything as JSON, as Ansible prints it.")
@click.option("--graph", is_flag=True, help="Groups and hosts as a tree (the default).")
@click.option("--vars", "variables", is_flag=True, help="With --graph: variables too.")
@click.option("--host", metavar="HOST", help="The merged variables of a host as JSON.")
@vault_options
@click.option("--blame", metavar="HOST", help="Each variable of a host: where set, over what.")
@click.argument("group", default="all")
def inventory(
    inventories: tuple[str, ...],
    limit: str | None,
    as_json: bool,
    graph: bool,
    variables: bool,
    host: str | None,
    blame: str | None,
    group: str,
    vault: tuple[str, ...],
) -> int:
    """Show hosts, groups and variables.

    GROUP is where the tree begins.
    """
    from runner.cli.work import use_vault
    from runner.inventory import blame as views
    from runner.inventory.load import limited, load_tree

    if sum(map(bool, (as_json, graph, host, blame))) > 1:
        raise click.UsageError("Give one of --list, --graph, --host and --blame.")
    as_tree = not (as_json or host or blame)
    if (variables or group != "all") and not as_tree:
        raise click.UsageError("GROUP and --vars belong to --graph.")
    if limit is not None and (host or blame):
        raise click.UsageError("--limit goes with --list and --graph; --host names one host.")
    use_vault(vault)
    tree = load_tree(inventories, project_folder())
    within = limited(tree, limit)
    if as_json:
        _print(views.as_list(tree, within))
    elif host:
        _print(views.of(tree, host))
    elif blame:
        click.echo(views.blame(tree, blame))
    else:
        click.echo(views.as_graph(tree, group, within, with_variables=variables))
    return 0


def _print(data: Mapping[str, Any]) -> None:
    import json

    click.echo(json.dumps(data, indent=4, sort_keys=True, default=str))
