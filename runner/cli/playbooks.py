"""gpurun playbooks: what can be applied by its name."""

from __future__ import annotations

import click

from runner.cli.options import output_option


@click.command()
@output_option
def playbooks(output: str) -> int:
    """List the playbooks that are found by name: the project's, and those gpurun brings along.

    A playbook of the project wins over a shipped one of the same name.
    """
    from runner.cli.project import project_folder
    from runner.playbook.find import known_playbooks
    from runner.reports.pages import summary_of

    known = known_playbooks(project_folder())
    if output == "json":
        import json

        made = [
            {"name": name, "summary": summary_of(path), "file": str(path)}
            for name, path in known.items()
        ]
        click.echo(json.dumps(made, indent=2))
        return 0
    width = max(map(len, known), default=0) + 2
    for name, path in known.items():
        click.echo(f"{name:<{width}}{summary_of(path)}".rstrip())
    return 0
