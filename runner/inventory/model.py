"""Hosts and groups as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

    @property
    def is_local(self) -> bool:
        """Whether it is this machine (`ansible_connection: local`), reached without SSH."""
        return self.variables.get("ansible_connection") == "local"

    @property
    def node_name(self) -> str:
        """Its Kubernetes node: variable `kubernetes_node`, else the inventory name."""
        return str(self.variables.get("kubernetes_node", self.name))


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
