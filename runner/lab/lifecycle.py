"""A lab as a whole: up, down, reset, status. Leftovers of a killed one are cleared, not trusted."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from runner.errors import GpurunError
from runner.lab import access, api, cgroups, image, mounts, network, node, processes, settings
from runner.lab.layout import (
    DEFAULT_NODES,
    MOST_NODES,
    Lab,
    Node,
    NodeSpec,
    existing_labs,
    is_rootless,
)
from runner.lab.requirements import check
from runner.lab.settings import Settings

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH_INOTIFY = 8192
"""Each systemd keeps six inotify instances or so; the kernel's 128 end at about 17 nodes."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How a node is now: `running`, `starting` (no SSH yet) or `off`."""

    node: Node
    state: str


def up(
    lab: Lab,
    specs: Sequence[NodeSpec],
    profile: str | None,
    inventory_file: Path,
    say: Say,
) -> list[Node]:
    """Bring the lab up: nodes that run as wanted stay, all others are made anew.

    Args:
        specs: nodes to add or change; none: those it has, else the default four.
        profile: `full` or `light`; None: what it has, else full (rootless: light).
        inventory_file: where its inventory is written.

    Raises:
        GpurunError: with what is missing on this machine, or what failed.
    """
    check(profile or default_profile())
    with alone(lab, say):
        wanted = wanted_settings(lab, specs, profile)
        wanted.layers = [str(path) for path in image.layers(lab.cache, say)]
        stay = staying(lab, wanted)
        nodes = wanted.nodes(lab)
        if not stay:
            clear(lab)
            wanted.subnet = network.choose_subnet(lab.name, network.used_subnets(lab))
            nodes = wanted.nodes(lab)
            network.make_bridge(lab, wanted.subnet)
        wanted.inventory = str(inventory_file)
        settings.write(lab, wanted)
        new = [one for one in nodes if one.name not in stay]
        make(lab, new, wanted, say)
        access.write(lab, nodes, inventory_file)
        start_api(lab, wanted, say)
    return nodes


def default_profile() -> str:
    """Ordinary users have no control groups to give to a systemd."""
    return "light" if is_rootless() else "full"


def wanted_settings(lab: Lab, specs: Sequence[NodeSpec], profile: str | None) -> Settings:
    """What the lab should be: what it was, changed by what is asked for now."""
    known = settings.read(lab)
    if known is None or (profile and profile != known.profile):
        known = Settings(subnet="", profile=profile or default_profile())
    for spec in specs or (() if known.specs else DEFAULT_NODES):
        known.add(spec)
    if len(known.specs) > MOST_NODES:
        raise GpurunError(
            f"A lab has at most {MOST_NODES} nodes; this would be {len(known.specs)}",
            "Start another one beside it with --name.",
        )
    return known


def staying(lab: Lab, wanted: Settings) -> set[str]:
    """Names of the nodes that run and are what is wanted."""
    before = settings.read(lab)
    if before is None or not wanted.subnet or not network.has_bridge(lab, wanted.subnet):
        return set()
    if (before.layers, before.profile) != (wanted.layers, wanted.profile):
        return set()
    same = [one for one in wanted.nodes(lab) if before.specs.get(one.name) == one.spec]
    return set(node.running(same))


def make(lab: Lab, nodes: list[Node], wanted: Settings, say: Say) -> None:
    """Make these nodes anew, start them, and wait until they can be worked with."""
    if not nodes:
        return
    say(f"Starting {len(nodes)} {wanted.profile} nodes: {names(nodes)}")
    raise_inotify()
    key = access.public_key(lab)
    layers = [Path(path) for path in wanted.layers]
    for one in nodes:
        node.remove(one)
    network.connect(nodes)

    def launch(one: Node) -> None:
        node.prepare(one, layers, key)
        node.start(one)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(launch, nodes))
    node.wait_ready(nodes)


def names(nodes: list[Node]) -> str:
    """Their names, the middle left out when there are many."""
    listed = [one.name for one in nodes]
    return ", ".join(listed if len(listed) <= 8 else [*listed[:3], "…", listed[-1]])


def start_api(lab: Lab, known: Settings, say: Say) -> None:
    """Start the API unless it runs, and let the user who called sudo use the lab."""
    if not api.pids(lab):
        say("Starting the Kubernetes API")
    api.start(lab, known.subnet)
    access.hand_over(lab, Path(known.inventory))


def raise_inotify() -> None:
    """Let this machine's root have enough inotify instances for all nodes."""
    if int(INOTIFY.read_text()) < ENOUGH_INOTIFY:
        with contextlib.suppress(OSError):
            INOTIFY.write_text(f"{ENOUGH_INOTIFY}\n")


def reset(lab: Lab, only: Sequence[str], say: Say) -> list[Node]:
    """Nodes and API back to the state right after `up`; names, addresses and host keys stay.

    Args:
        only: names of the nodes to reset, the API left alone; none: all, and the API.
    """
    with alone(lab, say):
        known = load(lab)
        chosen = [find_node(lab, name) for name in only] or known.nodes(lab)
        if not network.has_bridge(lab, known.subnet):
            raise GpurunError(
                f"The network of lab {lab.name!r} is gone", f"Run: gpurun lab up --name {lab.name}"
            )
        if not only:
            api.stop(lab)
            shutil.rmtree(lab.kube, ignore_errors=True)
        make(lab, chosen, known, say)
        if not only:
            start_api(lab, known, say)
    return chosen


def load(lab: Lab) -> Settings:
    """The lab's settings.

    Raises:
        GpurunError: when it is not up, with the labs there are.
    """
    known = settings.read(lab)
    if known is None:
        others = ", ".join(other.name for other in existing_labs()) or "none"
        raise GpurunError(
            f"There is no lab {lab.name!r} on this machine; there are: {others}",
            "Start it: gpurun lab up",
        )
    return known


def find_node(lab: Lab, name: str) -> Node:
    """A node of the lab by name."""
    found = load(lab).nodes(lab)
    for one in found:
        if one.name == name:
            return one
    raise GpurunError(f"There is no node {name!r} in lab {lab.name!r}", f"It has {names(found)}.")


def status(lab: Lab) -> list[NodeStatus]:
    """How each node is now."""
    nodes = load(lab).nodes(lab)
    pids = node.running(nodes)
    with ThreadPoolExecutor(16) as pool:
        ready = list(pool.map(lambda one: node.is_ready(one, pids.get(one.name)), nodes))
    return [
        NodeStatus(one, "off" if one.name not in pids else "running" if fine else "starting")
        for one, fine in zip(nodes, ready, strict=True)
    ]


def down(lab: Lab, say: Say) -> None:
    """Remove all of the lab from this machine; the cached image stays."""
    with alone(lab, say):
        known = settings.read(lab)
        clear(lab)
        if known and known.inventory:
            Path(known.inventory).unlink(missing_ok=True)
        mounts.remove_tree(lab.folder)
    lab.lock.unlink(missing_ok=True)


def clear(lab: Lab) -> None:
    """End all processes of the lab and remove its mounts, networks and control groups.

    Works from names and from what the kernel says, so that it also clears a lab whose files are
    damaged or gone.
    """
    files = network.namespaces(lab)
    networks = {inode for file in files if (inode := processes.namespace_inode(file))}
    processes.end(lambda: processes.find(lab.folder, lab.cgroup, networks))
    mounts.unmount_below(lab.folder)
    for name in network.interfaces(lab):
        network.remove_link(name)
    for file in files:
        network.remove_namespace(file)
    cgroups.remove(lab.cgroup)


@contextlib.contextmanager
def alone(lab: Lab, say: Say) -> Iterator[None]:
    """Hold the lab's lock, so that two commands do not build and remove at once."""
    lab.lock.parent.mkdir(parents=True, exist_ok=True)
    with lab.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another gpurun that works on lab {lab.name!r}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
