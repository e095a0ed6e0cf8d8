"""gpurun lab: GPU nodes and a Kubernetes API on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

NAME = click.option("--name", default="lab", show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """Simulated GPU nodes and a Kubernetes API on this machine."""


def say(text: str) -> None:
    click.echo(text, err=True)


@lab.command()
@click.argument("nodes", nargs=-1, metavar="[NODE=MODEL:COUNT]...")
@NAME
@click.option("--profile", type=click.Choice(["full", "light"]), help="Default: full.")
@click.option(
    "--inventory-folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("inventory"),
    show_default=True,
    help="Where NAME.yaml is written.",
)
def up(nodes: tuple[str, ...], name: str, profile: str | None, inventory_folder: Path) -> None:
    """Bring the lab up; nodes that run stay as they are.

    Without nodes: gpu-a1=A100-80:2 gpu-a2=A100-40:1 gpu-h1=H100-80:2 gpu-t1=T4:1. Full nodes run
    systemd, light ones only sshd.
    """
    from runner.lab import lifecycle
    from runner.lab.layout import find_lab, parse_node

    found = find_lab(name)
    inventory = (inventory_folder / f"{name}.yaml").absolute()
    specs = [parse_node(text) for text in nodes]
    lifecycle.up(found, specs, profile, inventory, say)
    show_status(name)


@lab.command()
@NAME
@click.option("--all", "every", is_flag=True, help="All labs of this user.")
def down(name: str, every: bool) -> None:
    """Remove the lab from this machine; the cached image stays."""
    from runner.lab import lifecycle
    from runner.lab.layout import existing_labs, find_lab

    for found in existing_labs() if every else [find_lab(name)]:
        lifecycle.down(found, say)
        click.echo(f"Lab {found.name} is down.")


@lab.command()
@NAME
def status(name: str) -> None:
    """Show nodes, API, inventory and kubeconfig."""
    show_status(name)


def show_status(name: str) -> None:
    from runner.lab import api, lifecycle
    from runner.lab.layout import find_lab

    found = find_lab(name)
    known = lifecycle.load(found)
    for one in lifecycle.status(found):
        gpus = f"{one.node.spec.count} x {one.node.spec.model}"
        click.echo(f"{one.node.name:<12} {one.node.address:<15} {gpus:<13} {one.state}")
    answers = "answers" if api.is_ready(found) else "does not answer"
    click.echo(f"Kubernetes API {answers}: {found.kubeconfig}")
    click.echo(f"Inventory: {known.inventory}")


@lab.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@NAME
def reset(nodes: tuple[str, ...], name: str) -> None:
    """Put nodes and API back to the state right after `up`."""
    from runner.lab import lifecycle
    from runner.lab.layout import find_lab

    lifecycle.reset(find_lab(name), nodes, say)
    show_status(name)


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@NAME
@click.option("--user", default="ops", show_default=True, help="ops, deploy, viewer or root.")
def shell(node: str, command: tuple[str, ...], name: str, user: str) -> None:
    """Log in to a node, or run COMMAND there."""
    from runner.lab import access, lifecycle
    from runner.lab.layout import find_lab

    words = access.ssh_command(lifecycle.find_node(find_lab(name), node), user)
    os.execvp("ssh", [*words, *command])
