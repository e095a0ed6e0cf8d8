"""gpurun schema: the JSON Schemas of playbooks and inventories, for editors."""

from __future__ import annotations

import click


@click.command()
@click.option("--inventory", is_flag=True, help="The schema of YAML inventories.")
def schema(inventory: bool) -> int:
    """Print the JSON Schema of playbooks (for yaml-language-server and others)."""
    import json

    if inventory:
        from runner.inventory.schema import schema as made
    else:
        from runner.playbook.schema import schema as made
    click.echo(json.dumps(made(), indent=2))
    return 0
