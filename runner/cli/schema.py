"""gpurun schema: the JSON Schema of playbooks, for editors."""

from __future__ import annotations

import click


@click.command()
def schema() -> int:
    """Print the JSON Schema of playbooks (for yaml-language-server and others)."""
    import json

    from runner.playbook.schema import schema as made

    click.echo(json.dumps(made(), indent=2))
    return 0
