"""Leases of nodes as somebody else sees them: who works on a node, and taking a dead lock away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from runner.kube.api import Json, RefusalError
from runner.kube.cluster import Cluster
from runner.kube.lock import DURATION, LEASES, ROLLOUT, RUN, SKEW, parse_time
from runner.kube.parse import understood

UNLOCKED = "gpurun.dev/unlocked"
"""Annotation of a lease that was taken away by hand: when, by whom, and why."""


@dataclass(frozen=True, slots=True)
class NodeLease:
    """The lock of one node. An empty holder: nobody works on it.

    `renewed` is None where the lease does not say it; `duration` in seconds.
    """

    name: str
    holder: str = ""
    run: str = ""
    since: str = ""
    renewed: datetime | None = None
    duration: float = DURATION
    item: Json = field(default_factory=dict, repr=False, compare=False)

    def valid_until(self) -> datetime | None:
        """When it has surely run out, clocks that differ considered; None: cannot be told."""
        if self.renewed is None:
            return None
        return self.renewed + timedelta(seconds=self.duration) + SKEW


def read_leases(cluster: Cluster) -> Mapping[str, NodeLease]:
    """All leases of gpurun in the cluster by lease name, that of the rollout too, in one list."""
    items = cluster.api.collection(LEASES, "list the locks of nodes")
    leases = (understood(parse_lease, item, "Lease") for item in items)
    return {
        lease.name: lease
        for lease in leases
        if lease.name == ROLLOUT or lease.name.startswith("gpurun-")
    }


def read_lease(cluster: Cluster, name: str, what: str) -> NodeLease:
    """The lease of that name; one without a holder where there is none.

    Args:
        what: it is the lock of, for messages.
    """
    try:
        item = cluster.api.get(f"{LEASES}/{name}", f"read the lock of {what}")
    except RefusalError as error:
        if error.code == 404:
            return NodeLease(name)
        raise
    return understood(parse_lease, item, "Lease")


def parse_lease(item: Json) -> NodeLease:
    """A Lease of coordination.k8s.io/v1."""
    meta, spec = item["metadata"], item.get("spec") or {}
    return NodeLease(
        name=str(meta["name"]),
        holder=str(spec.get("holderIdentity") or ""),
        run=str((meta.get("annotations") or {}).get(RUN, "")),
        since=str(spec.get("acquireTime") or ""),
        renewed=parse_time(spec.get("renewTime") or spec.get("acquireTime")),
        duration=float(spec.get("leaseDurationSeconds") or DURATION),
        item=item,
    )


def take_away(cluster: Cluster, what: str, lease: NodeLease, who: str, reason: str) -> None:
    """End a lease that is still as it was read; why is written on it.

    Raises:
        RefusalError: code 409 when the holder renewed it meanwhile: it is alive.
    """
    meta = dict(lease.item["metadata"])
    note = f"{datetime.now(UTC).isoformat(timespec='seconds')} {who}: {reason}"
    meta["annotations"] = {**(meta.get("annotations") or {}), UNLOCKED: note}
    # The API refuses an empty holder: the key is left out, as when a run releases it.
    spec = {k: v for k, v in (lease.item.get("spec") or {}).items() if k != "holderIdentity"}
    cluster.api.request(
        "PUT",
        f"{LEASES}/{lease.name}",
        f"unlock {what}",
        body={**lease.item, "metadata": meta, "spec": spec},
    )
