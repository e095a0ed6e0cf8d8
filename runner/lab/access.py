"""How to reach a lab: SSH key, known_hosts, inventory, and the list of nodes for its API."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from runner.lab import node as nodes_of_lab
from runner.lab.layout import Lab, Node, is_rootless, keeper_file
from runner.lab.settings import replace

USER = "ops"
"""Its sudo needs no password. `deploy` needs one to become root, `viewer` may not."""


def public_key(lab: Lab) -> str:
    """The lab's public key; the pair is made when it is missing."""
    public = lab.key.with_name(f"{lab.key.name}.pub")
    if not (lab.key.is_file() and public.is_file()):
        lab.folder.mkdir(parents=True, exist_ok=True)
        lab.key.unlink(missing_ok=True)
        nodes_of_lab.make_key(lab.key, f"gpurun lab {lab.name}")
    return public.read_text()


def ssh_command(node: Node, user: str = USER) -> list[str]:
    """ssh(1) to a node; none of the user's own SSH configuration applies."""
    return [
        *("ssh", "-F", "none", "-i", str(node.lab.key), "-l", user),
        *("-o", f"UserKnownHostsFile={node.lab.known_hosts}", "-o", "IdentitiesOnly=yes"),
        *("-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR", node.address),
    ]


def known_hosts(nodes: list[Node]) -> str:
    """Host keys by address and by name."""
    lines = []
    for node in nodes:
        kind, key = (node.identity / f"{nodes_of_lab.HOST_KEY}.pub").read_text().split()[:2]
        lines.append(f"{node.address},{node.name} {kind} {key}\n")
    return "".join(lines)


def inventory(lab: Lab, nodes: list[Node]) -> dict[str, Any]:
    """The inventory, in Ansible's structure and with Ansible's variable names."""
    inside = {"gpurun_lab_namespace": str(keeper_file())} if is_rootless() else {}
    groups: dict[str, dict[str, Any]] = {}
    for node in nodes:
        for group in node.spec.groups:
            groups.setdefault(group, {"hosts": {}})["hosts"][node.name] = {}
    return {
        "all": {
            "hosts": {
                node.name: {"ansible_host": node.address, "kubernetes_node": node.name, **inside}
                for node in nodes
            },
            "children": groups,
            "vars": {
                "ansible_user": USER,
                "ansible_ssh_private_key_file": str(lab.key),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.known_hosts}",
                "kubeconfig": str(lab.kubeconfig),
            },
        }
    }


def write(lab: Lab, nodes: list[Node], inventory_file: Path) -> None:
    """Write known_hosts, nodes.json and the inventory."""
    import yaml

    replace(lab.known_hosts, known_hosts(nodes))
    listed = [
        {
            "name": node.name,
            "address": node.address,
            "root": str(node.root),
            "model": node.spec.model,
            "count": node.spec.count,
        }
        for node in nodes
    ]
    replace(lab.nodes_file, json.dumps(listed, indent=1) + "\n")
    text = yaml.safe_dump(inventory(lab, nodes), sort_keys=False)
    head = f"# Written by `gpurun lab up` for the lab {lab.name!r}; `gpurun lab down` removes it.\n"
    replace(inventory_file, head + text)


def hand_over(lab: Lab, inventory_file: Path) -> None:
    """Called through sudo: give what is needed to use the lab to the user who called."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (user.isdigit() and group.isdigit()):
        return
    for path in (lab.key, lab.known_hosts, lab.kubeconfig, inventory_file):
        if path.is_file():
            os.chown(path, int(user), int(group))
