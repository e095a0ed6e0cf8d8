"""gpurun lab: GPU nodes and a Kubernetes API on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runner.lab.faults import NODE_FAULTS

NAME = click.option("--name", default="lab", show_default=True, help="Which lab.")


@click.group()
@click.pass_context
def lab(context: click.Context) -> None:
    """Simulated GPU nodes and a Kubernetes API on this machine."""
    asks_only = {"shell", None}
    if context.invoked_subcommand not in asks_only and not wants_help():
        from runner.cli.rootless import lab_command

        if os.geteuid() != 0:
            lab_command(str(context.invoked_subcommand))


def wants_help() -> bool:
    """Whether the command line asks for help, which needs no rights."""
    return any(word in ("-h", "--help") for word in sys.argv)


def say(text: str) -> None:
    click.echo(text, err=True)


@lab.command()
@click.argument("nodes", nargs=-1, metavar="[NODE=MODEL:COUNT]...")
@NAME
@click.option(
    "--profile", type=click.Choice(["full", "light"]), help="Default: full; rootless: light."
)
@click.option(
    "--inventory-folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("inventory"),
    show_default=True,
    help="Where NAME.yaml is written.",
)
def up(nodes: tuple[str, ...], name: str, profile: str | None, inventory_folder: Path) -> None:
    """Bring the lab up; nodes that run stay as they are.

    Without nodes: gpu-a1=A100-80:2 gpu-a2=A100-40:1 gpu-h1=H100-80:2 gpu-t1=T4:1. Models: A100-40,
    A100-80, A30, H100-80, H200-141, B200, L4, T4. Full nodes run systemd, light ones only sshd.
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
    from runner.cli.rootless import shell_command
    from runner.lab import access, lifecycle
    from runner.lab.layout import find_lab

    shell_command(name)
    words = access.ssh_command(lifecycle.find_node(find_lab(name), node), user)
    os.execvp("ssh", [*words, *command])


@lab.group()
def fault() -> None:
    """Put faults into the lab, or take them back."""


def node_fault(kind: str, text: str) -> click.Command:
    """The command of one fault of a node."""

    @click.command(kind, help=text, short_help=text.partition("\n")[0])
    @click.argument("node")
    @NAME
    def command(node: str, name: str) -> None:
        from runner.lab import lifecycle
        from runner.lab.layout import find_lab

        NODE_FAULTS[kind](lifecycle.find_node(find_lab(name), node))

    return command


for _kind, _put in NODE_FAULTS.items():
    fault.add_command(node_fault(_kind, _put.__doc__ or ""))


@fault.command()
@click.argument("node")
@click.argument("code", type=int)
@click.option("--gpu", "index", default=0, show_default=True, help="Index of the GPU.")
@NAME
def xid(node: str, code: int, index: int, name: str) -> None:
    """Write an XID into the node's kernel log; 79 loses the GPU until the next boot."""
    from runner.lab import faults, lifecycle
    from runner.lab.layout import find_lab

    faults.xid(lifecycle.find_node(find_lab(name), node), code, index)


@fault.command("api-down")
@NAME
def api_down(name: str) -> None:
    """End the Kubernetes API; what it knows stays."""
    from runner.lab import api
    from runner.lab.layout import find_lab

    api.stop(find_lab(name))


@fault.command("api-up")
@NAME
def api_up(name: str) -> None:
    """Start the Kubernetes API again."""
    from runner.lab import lifecycle
    from runner.lab.layout import find_lab

    found = find_lab(name)
    lifecycle.start_api(found, lifecycle.load(found), say)
