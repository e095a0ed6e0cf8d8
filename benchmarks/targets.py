"""The nodes of a benchmark as each tool wants them listed. Pure, but for `write`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.lab.access import USER
from runner.lab.layout import Node


@dataclass(frozen=True, slots=True)
class Target:
    """A node and where it is reached, directly or through a proxy.

    Args:
        host_key: kind and key, as in known_hosts.
    """

    name: str
    address: str
    port: int
    host_key: str


@dataclass(frozen=True, slots=True)
class Files:
    """What was written for one measurement, all in one folder."""

    folder: Path

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def inventory(self) -> Path:
        """For gpurun and ansible: the same file."""
        return self.folder / "hosts.yaml"

    @property
    def pyinfra_inventory(self) -> Path:
        return self.folder / "hosts.py"


def direct(node: Node) -> Target:
    """The node at its own address."""
    from runner.lab.node import HOST_KEY

    kind, key = (node.identity / f"{HOST_KEY}.pub").read_text().split()[:2]
    return Target(node.name, node.address, 22, f"{kind} {key}")


def known_hosts(targets: Sequence[Target]) -> str:
    """Lines of known_hosts, with the port where it is not 22."""
    return "".join(
        f"{t.address if t.port == 22 else f'[{t.address}]:{t.port}'} {t.host_key}\n"
        for t in targets
    )


def inventory(targets: Sequence[Target], key: Path, known: Path) -> str:
    """YAML (as JSON, which is YAML) with Ansible's names; no cluster: nothing is drained."""
    hosts = {t.name: {"ansible_host": t.address, "ansible_port": t.port} for t in targets}
    variables = {
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known}",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    return json.dumps({"all": {"hosts": hosts, "vars": variables}}, indent=1) + "\n"


def pyinfra_inventory(targets: Sequence[Target], key: Path, known: Path) -> str:
    """The same for pyinfra, whose inventories are Python."""
    hosts = [
        (
            t.name,
            {
                "ssh_hostname": t.address,
                "ssh_port": t.port,
                "ssh_user": USER,
                "ssh_key": str(key),
                "ssh_known_hosts_file": str(known),
                "ssh_strict_host_key_checking": "yes",
                "_sudo": True,
            },
        )
        for t in targets
    ]
    return f"nodes = {hosts!r}\n"


def write(folder: Path, targets: Sequence[Target], key: Path) -> Files:
    """Writes all lists of these targets into a folder."""
    files = Files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.known_hosts.write_text(known_hosts(targets))
    files.inventory.write_text(inventory(targets, key, files.known_hosts))
    files.pyinfra_inventory.write_text(pyinfra_inventory(targets, key, files.known_hosts))
    return files
