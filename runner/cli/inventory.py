"""gpurun inventory: hosts, groups, variables and where each was set."""

from __future__ import annotations

import click

from runner.cli.options import inventory_option, vault_options
from runner.cli.project import project_folder


@click.command()
@inventory_option
@click.option("--list", "as_json", is_flag=True, help="Everything as JSON, as Ansible prints it.")
@click.option("--graph", is_flag=True, help="Groups and hosts as a tree (the default).")
@click.option("--host", metavar="HOST", help="The merged variables of a host as JSON.")
@vault_options
@click.option("--blame", metavar="HOST", help="Each variable of a host: where set, over what.")
def inventory(
    inventories: tuple[str, ...],
    as_json: bool,
    graph: bool,
    host: str | None,
    blame: str | None,
    vault: tuple[str, ...],
) -> int:
    """Show hosts, groups and variables."""
    import json

    from runner.cli.work import use_vault
    from runner.inventory import blame as views
    from runner.inventory.load import load_tree

    if sum(map(bool, (as_json, graph, host, blame))) > 1:
        raise click.UsageError("Give one of --list, --graph, --host and --blame.")
    use_vault(vault)
    tree = load_tree(inventories, project_folder())
    if as_json:
        click.echo(json.dumps(views.as_list(tree), indent=4, sort_keys=True, default=str))
    elif host:
        click.echo(json.dumps(views.of(tree, host), indent=4, sort_keys=True, default=str))
    elif blame:
        click.echo(views.blame(tree, blame))
    else:
        click.echo(views.as_graph(tree))
    return 0
