"""Inventories by name, path or list, merged to hosts that can be reached; and their selection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.errors import InputError, Origin, Problem
from runner.inventory.connection import reach
from runner.inventory.model import LOCALHOST, Host, Inventory
from runner.inventory.patterns import exists, matching
from runner.inventory.sources import add_source, available
from runner.inventory.tree import Tree


def load_tree(sources: Sequence[str], project: Path) -> Tree:
    """Everything the sources say, with where each variable was set.

    Raises:
        InputError: with every mistake found.
    """
    tree = Tree()
    if not sources:
        names = available(project)
        hint = f"Add -i NAME, one of: {', '.join(names)}." if names else "Add -i FILE."
        raise InputError([Problem("no inventory was named", None, hint)])
    for source in sources:
        add_source(tree, source, project)
    if not tree.problems:
        tree.finish()
    if not tree.problems and not tree.hosts:
        where = Origin(", ".join(tree.sources))
        tree.note("the inventory has no hosts", where, "Add a name under hosts: of a group.")
    _stop_at_problems(tree.problems)
    return tree


def load_inventory(sources: Sequence[str], project: Path) -> Inventory:
    """The hosts of all sources, later sources winning.

    Args:
        sources: each `-i`: a name in the project's inventory/ folder, a path, a folder, a program
            (Ansible's --list protocol), or "host1,host2,".
        project: the folder that has inventory/.

    Raises:
        InputError: with every mistake found.
    """
    tree = load_tree(sources, project)
    problems: list[Problem] = []
    hosts = {name: _host(tree, name, problems) for name in tree.hosts}
    _stop_at_problems(problems)
    return Inventory(tuple(tree.sources), hosts, tree.members)


def _host(tree: Tree, name: str, problems: list[Problem]) -> Host:
    entry = tree.hosts[name]
    variables, origins = {}, {}
    for setting in tree.settings_of(name):
        variables[setting.name] = setting.value
        origins[setting.name] = setting.origin
    settings, wrong = reach(name, variables, origins, entry.origin)
    problems += wrong
    groups = tuple(sorted(group for group in tree.groups_of[name] if group != "all"))
    return Host(
        name=name,
        address=settings.address,
        origin=entry.origin,
        port=settings.port,
        user=settings.user,
        key_file=settings.key_file,
        proxy_jump=settings.proxy_jump,
        known_hosts=settings.known_hosts,
        become_password=settings.become_password,
        groups=groups,
        variables=variables,
    )


def _stop_at_problems(problems: list[Problem]) -> None:
    if problems:
        unique = dict.fromkeys(problems)
        nowhere = Origin("")
        raise InputError(sorted(unique, key=lambda problem: problem.origin or nowhere))


def select(inventory: Inventory, pattern: str, limit: str | None = None) -> list[Host]:
    """The hosts a pattern chooses, in inventory order, narrowed by `--limit`.

    Raises:
        InputError: the pattern or the limit matches nothing; the message lists what exists.
            Also for a chosen host that cannot be reached by SSH with a key.
    """
    names, groups = list(inventory.hosts), inventory.groups
    if pattern in ("localhost", "127.0.0.1") and not {pattern, limit} & set(names) - {None}:
        return [LOCALHOST]
    chosen = matching(pattern, names, groups)
    if limit is not None:
        within = set(matching(limit, names, groups, "limit"))
        kept = [name for name in chosen if name in within]
        if not kept:
            message = f"limit {limit!r} leaves none of the hosts of {pattern!r}"
            hint = f"{pattern} is: {', '.join(chosen[:12])}. {exists(names, groups)}"
            raise InputError([Problem(message, None, hint)])
        chosen = kept
    hosts = [inventory.hosts[name] for name in chosen]
    _stop_at_problems([problem for host in hosts for problem in _not_offered(host)])
    return hosts


def _not_offered(host: Host) -> list[Problem]:
    """Ways to reach a host that Ansible has and gpurun has not."""
    found = []
    connection = str(host.variables.get("ansible_connection", "ssh"))
    if connection not in ("ssh", "smart", "paramiko", "paramiko_ssh", "local"):
        found.append(
            Problem(
                f"host {host.name}: ansible_connection {connection} is not offered",
                host.origin,
                f"Reach it by SSH, or leave it out: --limit 'all:!{host.name}'.",
            )
        )
    for name in ("ansible_password", "ansible_ssh_pass"):
        if name in host.variables:
            found.append(
                Problem(
                    f"host {host.name}: {name}: logins with a password are not offered",
                    host.origin,
                    f"Put a key there (ssh-copy-id {host.address}) and remove {name}.",
                )
            )
    return found
