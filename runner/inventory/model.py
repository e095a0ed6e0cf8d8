"""Hosts and groups as data."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.errors import Origin
from runner.secrets.value import Unread


@dataclass(frozen=True, slots=True)
class Host:
    """One host of an inventory.

    Connection settings are taken from Ansible's variable names (`ansible_host`, `ansible_port`,
    `ansible_user`, `ansible_ssh_private_key_file`, `ansible_ssh_common_args`, `ansible_become*`).
    None means: as ~/.ssh/config or the default says.
    """

    name: str
    address: str
    origin: Origin
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    proxy_jump: str | None = None
    known_hosts: str | None = None
    """A known_hosts file of this host's own (UserKnownHostsFile in ansible_ssh_common_args)."""
    become_password: str | Unread | None = field(default=None, repr=False)
    groups: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Merged: group_vars by depth, then host_vars and host lines."""

    source: Path | None = None
    """The file that named it first; None: a list of hosts did."""
    drain: Mapping[str, Any] = field(default_factory=dict)
    """Options of a drain that hold for this host: they win over the play's."""

    @property
    def is_local(self) -> bool:
        """Whether it is this machine (`ansible_connection: local`), reached without SSH."""
        return self.variables.get("ansible_connection") == "local"

    @property
    def magic(self) -> dict[str, Any]:
        """What Ansible tells of a host besides its own variables."""
        return magic_variables(self.name, self.groups, self.source)

    @property
    def node_name(self) -> str:
        """Its Kubernetes node: variable `kubernetes_node`, else the inventory name."""
        return str(self.variables.get("kubernetes_node", self.name))

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names its node may have: as given, then short. An address has no short form."""
        name = self.node_name
        return (name,) if _is_address(name) else tuple(dict.fromkeys((name, name.split(".")[0])))


LOCALHOST = Host(
    "localhost",
    "127.0.0.1",
    Origin("implicit localhost"),
    variables={"ansible_connection": "local"},
)
"""This machine, for playbooks that name it where no inventory does, as in Ansible."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that was loaded. `groups` maps a group to its hosts, children's included."""

    sources: tuple[str, ...]
    hosts: Mapping[str, Host]
    groups: Mapping[str, tuple[str, ...]]

    def with_login(self, user: str | None) -> Inventory:
        """The same, with a login user for the hosts that have none of their own."""
        if user is None:
            return self
        hosts = {
            name: host if host.user else replace(host, user=user)
            for name, host in self.hosts.items()
        }
        return replace(self, hosts=hosts)


def magic_variables(name: str, groups: Sequence[str], source: Path | None) -> dict[str, Any]:
    """What Ansible tells of every host besides its own variables.

    Args:
        groups: the host's, without `all`.
        source: the file that named the host first; None: it stood in a list of hosts.
    """
    return {
        "inventory_hostname": name,
        "inventory_hostname_short": name if _is_address(name) else name.split(".")[0],
        "inventory_file": str(source) if source else None,
        "inventory_dir": str(source.parent) if source else None,
        "group_names": list(groups),
    }


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
