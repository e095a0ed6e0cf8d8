"""The lab's network: a bridge on this machine, and one namespace with one cable per node.

Nothing is routed: this machine's ip_forward is left as it is, so nodes reach each other, the lab's
API and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from runner.errors import GpurunError
from runner.lab.commands import run, succeeds
from runner.lab.layout import Lab, Node

NAMESPACES = Path("/run/netns")
SUBNETS = 512
"""198.18.0.0/15 is set aside for tests of network devices (RFC 2544): 512 times a /24."""


def subnet(number: int) -> str:
    """First three bytes of the /24 of that number, 0 to 511."""
    return f"198.{18 + number // 256}.{number % 256}"


def used_subnets(lab: Lab) -> set[str]:
    """Subnets this machine has addresses in, other than on the lab's own bridge."""
    links = json.loads(run(["ip", "-json", "-4", "addr", "show"]) or "[]")
    return {
        address["local"].rpartition(".")[0]
        for link in links
        if link.get("ifname") != lab.bridge
        for address in link.get("addr_info", [])
    }


def choose_subnet(name: str, used: Collection[str]) -> str:
    """A subnet for the lab: the same for the same name as long as nobody else has it."""
    first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % SUBNETS
    for step in range(SUBNETS):
        candidate = subnet((first + step) % SUBNETS)
        if candidate not in used:
            return candidate
    raise GpurunError(
        "All 512 subnets of 198.18.0.0/15 are in use on this machine",
        "Take labs down: gpurun lab down --all",
    )


def has_bridge(lab: Lab, prefix: str) -> bool:
    """Whether the lab's bridge exists with its address and is up."""
    if not Path("/sys/class/net", lab.bridge).is_dir():
        return False
    links = json.loads(run(["ip", "-json", "-4", "addr", "show", "dev", lab.bridge]) or "[]")
    return any(
        "UP" in link.get("flags", [])
        and any(a["local"] == f"{prefix}.1" for a in link.get("addr_info", []))
        for link in links
    )


def make_bridge(lab: Lab, prefix: str) -> None:
    """Make the lab's bridge anew, with address .1."""
    remove_link(lab.bridge)
    batch(
        [
            f"link add {lab.bridge} address {lab.hardware_address(255)} type bridge",
            f"addr add {prefix}.1/24 dev {lab.bridge}",
            f"link set {lab.bridge} up",
        ]
    )


def connect(nodes: Iterable[Node]) -> None:
    """Give each node its namespace, and a cable from there to the bridge."""
    nodes = list(nodes)
    lines = []
    for node in nodes:
        lines += [
            f"netns add {node.namespace}",
            f"link add {node.interface} type veth peer name eth0 netns {node.namespace}",
            f"link set {node.interface} master {node.lab.bridge} up",
        ]
    batch(lines)
    for node in nodes:
        batch(
            [
                "link set lo up",
                f"link set eth0 address {node.hardware_address}",
                f"addr add {node.address}/24 dev eth0",
                "link set eth0 up",
                f"route add default via {node.subnet}.1",
            ],
            node.namespace,
        )


def batch(lines: list[str], namespace: str = "") -> None:
    """Several ip commands in one process."""
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], stdin="\n".join(lines) + "\n", what="the lab's network")


def remove_link(name: str) -> None:
    """Remove an interface if there is one; it may vanish by itself along with its other end."""
    there = Path("/sys/class/net", name)
    if there.is_dir() and not succeeds(["ip", "link", "del", name]) and there.is_dir():
        raise GpurunError(f"Interface {name} cannot be removed", f"Try: ip link del {name}")


def namespaces(lab: Lab) -> list[Path]:
    """Files of the lab's network namespaces, also stale ones that nothing is mounted on."""
    return sorted(NAMESPACES.glob(f"{lab.namespace_prefix}*"))


def remove_namespace(file: Path) -> None:
    """Remove a named network namespace, also one of which only the file was left."""
    succeeds(["umount", "--lazy", file])
    file.unlink(missing_ok=True)


def interfaces(lab: Lab) -> list[str]:
    """The lab's interfaces on this machine, the bridge last."""
    found = (path.name for path in Path("/sys/class/net").glob(f"{lab.bridge}*"))
    return sorted(found, key=lambda name: (name == lab.bridge, name))
