"""Ending the lock of a run that died, without taking one from a run that lives."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from runner.engine.clusters import Clusters
from runner.engine.host_lock import KEY, HostLock, parse_lock, read_lock, release
from runner.engine.observe import Hosts
from runner.errors import GpurunError
from runner.hosts.connection import Connection
from runner.inventory.model import Host
from runner.kube import maintenance, taints
from runner.kube.api import RefusalError
from runner.kube.leases import NodeLease, read_lease, take_away
from runner.kube.lock import ROLLOUT, ROLLOUT_OF, lease_name
from runner.kube.state import NodeState

_HOLDER = re.compile(r"\S+@(?P<machine>\S+) pid (?P<process>\d+)")


def unlock_node(
    clusters: Clusters,
    hosts: Sequence[Host],
    name: str,
    reason: str,
    force: bool,
    rollout: bool = False,
    connect: Callable[[Host], Hosts] = Connection,
) -> Iterator[str]:
    """Sentences on what was done and on what the run left on the node.

    Args:
        name: an inventory name or the name of a node.
        rollout: end the lock of the rollout on the node's cluster, not that of the node.
        connect: to a host without a cluster, whose lock is a file on it.

    Raises:
        GpurunError: no such node, or its lock may be held by a run that lives.
    """
    host = _host(hosts, name)
    cluster, node = clusters.of(host), clusters.node(host)
    if cluster is None:
        if rollout:
            raise GpurunError(f"{name}: no cluster is configured", "--kubeconfig names one")
        yield from unlock_host(host, connect(host), reason, force)
        return
    if not isinstance(node, NodeState):
        raise GpurunError(f"{name}: {node}")
    what = ROLLOUT_OF if rollout else f"node {node.name}"
    lease = read_lease(cluster, ROLLOUT if rollout else lease_name(node.name), what)
    if not lease.holder:
        yield f"{what} is not locked"
    else:
        why = "" if force else refusal(lease, datetime.now(UTC), socket.gethostname())
        if why:
            raise GpurunError(f"{what} stays locked: {why}", "--force unlocks it anyway")
        who = f"{getpass.getuser()}@{socket.gethostname()}"
        try:
            take_away(cluster, what, lease, who, reason)
        except RefusalError as error:
            if error.code != 409:
                raise
            raise GpurunError(
                f"{what} stays locked: its lock was written at this moment, so "
                f"{lease.holder} is alive",
                "look with gpurun nodes who holds it now",
            ) from error
        yield f"{what} unlocked; it was held by {lease.holder} (run {lease.run})"
    yield from left_behind(node)


def unlock_host(host: Host, connection: Hosts, reason: str, force: bool) -> Iterator[str]:
    """End the lock that lies on a host without a cluster; why is written beside it.

    Raises:
        GpurunError: the host cannot be reached, or the lock may be held by a run that lives.
    """
    become = host.user != "root"
    found = connection.look([read_lock(become)])[KEY]
    clock, _, text = found.text.partition("\n")
    lock = parse_lock(text)
    if found.rc != 0 or not clock.isdigit():
        raise GpurunError(f"{host.name}: its lock cannot be read: {found.error_text[-200:]}")
    if lock is None:
        yield f"host {host.name} is not locked"
        return
    why = "" if force else _host_refusal(lock, int(clock), socket.gethostname())
    if why:
        raise GpurunError(f"host {host.name} stays locked: {why}", "--force unlocks it anyway")
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    note = f"{datetime.now(UTC).isoformat(timespec='seconds')} {who}: {reason}"
    (result,) = connection.change([release(lock.run, become, note=note)])
    if result.status != "done":
        raise GpurunError(f"host {host.name} stays locked: its lock cannot be removed")
    yield f"host {host.name} unlocked; it was held by {lock.holder} (run {lock.run})"


def _host_refusal(lock: HostLock, now: int, machine: str) -> str:
    """Why a host's lock must not be taken away, by the host's own clock."""
    end = int(lock.until) if lock.until.isdigit() else now
    renewed = datetime.fromtimestamp(now, UTC)
    lease = NodeLease("", lock.holder, lock.run, lock.since, renewed, end - now)
    local = _HOLDER.match(lock.holder)
    if local and local["machine"] == machine:
        return refusal(lease, datetime.now(UTC), machine)
    left = end - now
    return f"{lock.holder} may work for {left} s more, then it has run out" if left > 0 else ""


def _host(hosts: Sequence[Host], name: str) -> Host:
    for host in hosts:
        if name in (host.name, host.node_name):
            return host
    raise GpurunError(f"the inventory has no node '{name}'", "gpurun nodes lists them")


def refusal(lease: NodeLease, now: datetime, machine: str) -> str:
    """Why a lease must not be taken away; "" when its holder is surely dead.

    A process on this machine can be looked at, whatever the lease says; of one elsewhere only the
    lease tells.
    """
    holder = _HOLDER.match(lease.holder)
    if holder and holder["machine"] == machine:
        if process_is_gpurun(int(holder["process"])):
            return f"process {holder['process']} on this machine holds it and is alive"
        return ""
    end = lease.valid_until()
    if end is None:
        return f"{lease.holder} holds it and the lease does not say since when"
    if now < end:
        left = (end - now).total_seconds()
        return (
            f"{lease.holder} renewed it at {lease.renewed:%H:%M:%S} UTC; "
            f"it has run out in {left:.0f} s if that run is dead"
        )
    return ""


def process_is_gpurun(process: int) -> bool:
    """Whether the process exists and is a gpurun: process numbers are used again."""
    try:
        line = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return b"gpurun" in line or b"runner.cli" in line


def left_behind(node: NodeState) -> Iterator[str]:
    """What runs left on the node beside a lock, and the command that ends it."""
    notes = node.annotations
    if node.unschedulable and notes.get(maintenance.CORDONED_BY):
        run = notes[maintenance.CORDONED_BY]
        yield f"node {node.name} is still cordoned by run {run}: gpurun resume {run}"
    elif notes.get(maintenance.RUN):
        run = notes[maintenance.RUN]
        yield f"node {node.name} is still marked by run {run}: gpurun resume {run}"
    run, taint = taints.tainted(node)
    if taint is not None:
        yield f"node {node.name}: run {run} tainted it with {taint.text}: gpurun resume {run}"
    run, labels = maintenance.paused(node)
    if labels:
        names = ", ".join(sorted(labels))
        yield f"node {node.name}: run {run} paused {names}: gpurun resume {run}"
