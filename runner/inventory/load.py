"""Inventories by name, path or list, merged to hosts that can be reached; and their selection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.errors import InputError, Origin, Problem
from runner.inventory.connection import reach
from runner.inventory.model import LOCALHOST, Host, Inventory, magic_variables
from runner.inventory.patterns import Names, exists, matching
from runner.inventory.sources import add_source, available, shorter
from runner.inventory.tree import Tree
from runner.inventory.variables import add_variable_files
from runner.playbook.drain import host_drain


def load_tree(sources: Sequence[str], project: Path, playbook_folder: Path | None = None) -> Tree:
    """Everything the sources say, with where each variable was set.

    Args:
        playbook_folder: has group_vars and host_vars, perhaps; None: the project.

    Raises:
        InputError: with every mistake found.
    """
    tree = Tree(playbook_folder=shorter(playbook_folder or project))
    if not sources:
        names = available(project)
        hint = f"Add -i NAME, one of: {', '.join(names)}." if names else "Add -i FILE."
        raise InputError([Problem("no inventory was named", None, hint)])
    for source in sources:
        add_source(tree, source, project)
    add_variable_files(tree)
    if not tree.problems:
        tree.finish()
    if not tree.problems and not tree.hosts:
        where = Origin(", ".join(tree.sources))
        tree.note("the inventory has no hosts", where, "Add a name under hosts: of a group.")
    _stop_at_problems(tree.problems)
    return tree


def limited(tree: Tree, limit: str | None) -> set[str] | None:
    """The hosts of `--limit`; None: all.

    Raises:
        InputError: it matches nothing.
    """
    if limit is None:
        return None
    variables = {
        name: {key: setting.value for key, setting in tree.merged(name).items()}
        for name in (tree.hosts if "=" in limit else ())
    }
    return set(matching(limit, Names(tree.hosts, tree.members, variables, "limit")))


def load_inventory(
    sources: Sequence[str], project: Path, playbook_folder: Path | None = None
) -> Inventory:
    """The hosts of all sources, later sources winning.

    Args:
        sources: each `-i`: a name in the project's inventory/ folder, a path, a folder, a program
            (Ansible's --list protocol), or "host1,host2,".
        project: the folder that has inventory/.
        playbook_folder: see `load_tree`.

    Raises:
        InputError: with every mistake found.
    """
    tree = load_tree(sources, project, playbook_folder)
    problems: list[Problem] = []
    hosts = {name: _host(tree, name, problems) for name in tree.hosts}
    _stop_at_problems(problems)
    return Inventory(tuple(tree.sources), hosts, tree.members)


def _host(tree: Tree, name: str, problems: list[Problem]) -> Host:
    entry = tree.hosts[name]
    merged = tree.merged(name)
    variables = {key: setting.value for key, setting in merged.items()}
    origins = {key: setting.origin for key, setting in merged.items()}
    groups = tuple(sorted(group for group in tree.groups_of[name] if group != "all"))
    magic = magic_variables(name, groups, entry.source)
    settings, wrong = reach(name, variables, magic, origins, entry.origin)
    problems += wrong
    drain: dict[str, Any] = {}
    if variables.get("drain") is not None:
        drain, wrong = host_drain(variables["drain"], origins["drain"])
        problems += wrong
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
        source=entry.source,
        drain=drain,
    )


def _stop_at_problems(problems: list[Problem]) -> None:
    if problems:
        unique = dict.fromkeys(problems)
        nowhere = Origin("")
        raise InputError(sorted(unique, key=lambda problem: problem.origin or nowhere))


def select(inventory: Inventory, pattern: str, limit: str | None = None) -> list[Host]:
    """The hosts a pattern chooses, in the pattern's order, narrowed by `--limit`.

    Raises:
        InputError: the pattern or the limit matches nothing; the message lists what exists.
            Also for a chosen host that cannot be reached by SSH with a key.
    """
    hosts, groups = inventory.hosts, inventory.groups
    if pattern in ("localhost", "127.0.0.1") and pattern not in hosts and limit not in hosts:
        return [LOCALHOST]
    variables = {name: host.variables for name, host in inventory.hosts.items()}
    chosen = matching(pattern, Names(hosts, groups, variables))
    if limit is not None:
        within = set(matching(limit, Names(hosts, groups, variables, "limit")))
        kept = [name for name in chosen if name in within]
        if not kept:
            message = f"limit {limit!r} leaves none of the hosts of {pattern!r}"
            hint = f"{pattern} is: {', '.join(chosen[:12])}. {exists(hosts, groups)}"
            raise InputError([Problem(message, None, hint)])
        chosen = kept
    found = [inventory.hosts[name] for name in chosen]
    _stop_at_problems([problem for host in found for problem in _not_offered(host)])
    return found


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
