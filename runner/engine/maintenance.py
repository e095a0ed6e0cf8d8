"""What the engine asks of a host's cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runner.engine.host_lock import LockedHost
from runner.engine.observe import no_cluster
from runner.engine.planning import HostPlan
from runner.errors import ClusterError
from runner.kube.state import ClusterQuery
from runner.modules.base import Unknown


class Maintenance:
    """What the engine asks of the cluster for one node; this one has no cluster."""

    def lock(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def lost(self) -> bool:
        return False

    def enter(self, plan: HostPlan) -> None: ...

    def resume_pods(self) -> None: ...

    def perform(self, action: Any, since: datetime) -> Mapping[str, Any]:
        raise ClusterError("no cluster is configured for this host")

    def leave(self) -> str:
        return ""

    def left(self) -> str:
        return ""

    def read_node(self) -> Any:
        return Unknown("no cluster is configured for this host")

    def read_object(self, query: ClusterQuery) -> Any:
        return no_cluster(query)


@dataclass(frozen=True, slots=True)
class HostMaintenance(Maintenance):
    """A host without a cluster: its lock is a file on the host itself."""

    host: LockedHost

    def lock(self) -> AbstractContextManager[Any]:
        """The lock is taken by the first change, so that it costs no exec of its own."""
        unlocking = ExitStack()
        unlocking.callback(self.host.unlock)
        return unlocking
