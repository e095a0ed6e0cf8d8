"""What the engine asks of a host's cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from runner.engine.observe import no_cluster
from runner.engine.planning import HostPlan
from runner.errors import ClusterError
from runner.kube.state import ObjectQuery
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

    def read_object(self, query: ObjectQuery) -> Any:
        return no_cluster(query)
