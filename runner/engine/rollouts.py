"""The lock of a rollout: one run at a time takes nodes of a cluster out of service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event

from runner.engine.clusters import Clusters
from runner.engine.ending import HostResult
from runner.engine.gates import disrupts
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.errors import ClusterError
from runner.kube.cluster import Cluster
from runner.kube.lock import RolloutLock
from runner.kube.state import NodeState


@contextmanager
def rollouts(
    states: Sequence[HostState],
    clusters: Clusters,
    settings: Settings,
    holder: str,
    stop: Event,
    progress: Callable[[str, str], None],
    ended: Callable[[HostState, HostResult], None],
) -> Iterator[dict[Cluster, RolloutLock]]:
    """Hold the lock of every cluster of which nodes have to be taken out of service.

    Args:
        holder: of the locks, for people.
        progress: told with the name of a host for what it waits.
        ended: told of the hosts that cannot be worked on because another run holds the lock.
    """
    held: dict[Cluster, RolloutLock] = {}
    with ExitStack() as stack:
        for cluster, needing in _needing(states, clusters).items() if settings.rollout_lock else ():
            heir_of = settings.predecessor if settings.heirs else ""
            patience = settings.lock_timeout
            say = partial(progress, needing[0].host.name)
            lock = RolloutLock(cluster, settings.run, holder, patience, stop, heir_of, say)
            try:
                held[cluster] = stack.enter_context(lock)
            except ClusterError as error:
                for state in needing:
                    ended(state, HostResult(state.host.name, "denied", str(error)))
        yield held


def _needing(states: Sequence[HostState], clusters: Clusters) -> dict[Cluster, list[HostState]]:
    """The hosts with work that takes their nodes out of service, by cluster."""
    found: dict[Cluster, list[HostState]] = {}
    for state in states:
        cluster = clusters.of(state.host)
        node = isinstance(state.node, NodeState)
        if cluster and node and state.waits_for_work and state.plan and disrupts(state.plan):
            found.setdefault(cluster, []).append(state)
    return found
