"""What the engine asks of a host's cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from runner.engine.host_lock import LockedHost
from runner.engine.observe import no_cluster
from runner.engine.planning import HostPlan
from runner.errors import ClusterError
from runner.kube.state import ClusterQuery
from runner.modules.base import Unknown


class Lock(Protocol):
    """The lock of one host, held while `with` runs."""

    @property
    def order(self) -> str:
        """Where it stands among all locks: the same text for every run."""

    def __enter__(self) -> Lock: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def take(self) -> None:
        """Have it now, where entering leaves that to the first change."""

    def lost(self) -> bool:
        """Whether it can no longer be relied on."""


class NoLock:
    """Nobody else can come to this host."""

    order = ""

    def __enter__(self) -> NoLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def take(self) -> None: ...

    def lost(self) -> bool:
        return False


class Maintenance:
    """What the engine asks of the cluster for one node; this one has no cluster."""

    def lock(self) -> Lock:
        return NoLock()

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

    def lock(self) -> Lock:
        return self.host
