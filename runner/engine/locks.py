"""The locks of a play: a host's own, and those of hosts that its tasks are delegated to.

Every thread of every run takes the locks it needs before it begins, in one order, so that two runs
never wait for each other in a circle. Threads of one run share them: the first that needs a lock
takes it, the last lets it go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from runner.engine.clusters import Clusters
from runner.engine.delegates import found
from runner.engine.gates import lock_reason
from runner.engine.host_lock import KEY, HostTaken, LockedHost, host_lock_reason
from runner.engine.maintenance import Lock
from runner.engine.observe import Hosts
from runner.engine.planning import HostPlan, seen_as
from runner.engine.settings import Settings
from runner.errors import GpurunError
from runner.inventory.model import Host
from runner.kube.lock import LeaseLock, NodeLock, lease_name
from runner.kube.state import NodeState


class SharedLease:
    """The Lease of a node, for as long as any thread of the run needs it.

    Args:
        make: a lock that is not taken yet; made anew each time it is needed again.
    """

    def __init__(self, order: str, make: Callable[[], LeaseLock]) -> None:
        self._order = order
        self._make = make
        self._turn = threading.Lock()
        self._users = 0
        self._lease: LeaseLock | None = None

    @property
    def order(self) -> str:
        return self._order

    def __enter__(self) -> Self:
        with self._turn:
            if not self._users:
                lease = self._make()
                lease.__enter__()
                self._lease = lease
            self._users += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._turn:
            self._users -= 1
            if not self._users and self._lease is not None:
                self._lease.__exit__(kind, error, trace)

    def take(self) -> None: ...

    def lost(self) -> bool:
        return self._lease is not None and self._lease.lost.is_set()


class Locks:
    """The locks of a play's hosts, each made once. Used by several threads.

    Args:
        hosts: of the inventory.
        holder: for people: "user@host pid N".
        owner: whose a host's file is: whether root's or another's (`become`), and whose.
        connect: the run's connection to a host.
        progress: told with the name of a host for whom it waits.
    """

    def __init__(
        self,
        clusters: Clusters,
        hosts: Mapping[str, Host],
        settings: Settings,
        holder: str,
        owner: Callable[[Host], tuple[bool, str]],
        connect: Callable[[Host], Hosts],
        stop: threading.Event,
        progress: Callable[[str, str], None],
    ) -> None:
        self._clusters = clusters
        self._hosts = hosts
        self._settings = settings
        self._holder = holder
        self._owner = owner
        self._connect = connect
        self._stop = stop
        self._progress = progress
        self._made: dict[str, SharedLease | LockedHost] = {}
        self._guard = threading.Lock()

    def of(self, host: Host) -> SharedLease | LockedHost:
        """The lock of a host: of its node where it has one, else a file on it.

        Raises:
            GpurunError: the host cannot be reached.
        """
        if host.name not in self._made:
            made = self._lease(host) or self._file(host)
            with self._guard:
                self._made.setdefault(host.name, made)
        return self._made[host.name]

    def elsewhere(self, name: str) -> SharedLease | LockedHost | None:
        """The lock of a host that a task is delegated to. None: the machine that gpurun runs on,
        from where such tasks speak to something else; it is not kept from other runs.

        Raises:
            GpurunError: the host cannot be reached.
        """
        host = found(name, self._hosts)
        return None if host is None or host.is_local else self.of(host)

    def _lease(self, host: Host) -> SharedLease | None:
        cluster, node, settings = self._clusters.of(host), self._clusters.node(host), self._settings
        if cluster is None or not isinstance(node, NodeState):
            return None

        def make() -> LeaseLock:
            return NodeLock(
                cluster,
                node.name,
                settings.run,
                self._holder,
                settings.lock_timeout,
                self._stop,
                settings.heir_of(host.name),
                lambda text: self._progress(host.name, text),
            )

        return SharedLease(f"lease {lease_name(node.name)}", make)

    def _file(self, host: Host) -> LockedHost:
        become, user = self._owner(host)
        return LockedHost(
            self._connect(host),
            self._settings.run,
            self._holder,
            become,
            user,
            self._settings.lock_timeout,
            self._settings.heir_of(host.name),
            self._stop,
            lambda text: self._progress(host.name, text),
            f"file {host.address}",
        )


@contextmanager
def together(own: Lock, others: Mapping[str, Lock]) -> Iterator[None]:
    """Hold a host's own lock and those of hosts that its tasks are delegated to.

    Args:
        others: by the host's name.

    Raises:
        ClusterError, HostTaken: another run holds one of them; none is held then.
    """
    named: Sequence[tuple[str, Lock]] = [("", own), *others.items()]
    with ExitStack() as stack:
        for name, lock in sorted(named, key=lambda entry: entry[1].order):
            try:
                stack.enter_context(lock)
                if others:
                    lock.take()
            except GpurunError as error:
                if not name:
                    raise
                raise HostTaken(f"delegate_to {name}: {error.message}", error.hint) from error
        yield


def delegated_to(plan: HostPlan) -> list[str]:
    """The hosts that a plan's tasks change instead of its own, as far as it knows them."""
    return sorted({step.delegate for step in plan.pending if step.delegate})


def locked_elsewhere(
    plan: HostPlan,
    observed: Mapping[str, Any],
    clusters: Clusters,
    hosts: Mapping[str, Host],
    settings: Settings,
) -> str:
    """Why a host that a task is delegated to cannot be locked, or "" where all can.

    Args:
        observed: with the locks of plain hosts, as the looks at them found them.
        hosts: of the inventory.
    """
    now, patience = datetime.now(UTC), settings.lock_timeout
    for name in delegated_to(plan):
        host, heir_of = found(name, hosts), settings.heir_of(name)
        if host is None or host.is_local:
            continue
        if isinstance(clusters.node(host), NodeState):
            taken = lock_reason(clusters.lock(host), settings.run, now, patience, heir_of)
        else:
            seen = observed.get(seen_as(KEY, name))
            taken = host_lock_reason(seen, (settings.run, heir_of), patience)
        if taken:
            return f"delegate_to {name}: {taken}"
    return ""


def locks_of(plan: HostPlan, locks: Locks | None) -> dict[str, Lock]:
    """The locks of those hosts, by name. Raises GpurunError where one cannot be reached."""
    wanted: dict[str, Lock] = {}
    if locks is None:
        return wanted
    for name in delegated_to(plan):
        lock = locks.elsewhere(name)
        if lock is not None:
            wanted[name] = lock
    return wanted
