"""The clusters of a run: which host is which node, read once; maintenance of one node."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.engine.ending import Interrupted
from runner.engine.events import Events
from runner.engine.gates import disrupts, drain_mode, frees_gpus
from runner.engine.maintenance import Lock, Maintenance
from runner.engine.planning import HostPlan
from runner.errors import ClusterError
from runner.facts.gpu_users import GpuUsers
from runner.facts.kubernetes import NO_CLUSTER
from runner.inventory.model import Host
from runner.kube import drain, maintenance
from runner.kube.cluster import Cluster
from runner.kube.kubeconfig import in_cluster
from runner.kube.leases import NodeLease, read_leases
from runner.kube.lock import ROLLOUT, RolloutLock, lease_name
from runner.kube.preview import DrainPreview, preview
from runner.kube.snapshot import Snapshot
from runner.kube.state import ClusterAction, ClusterAnswer, ClusterQuery, DrainMode, NodeState
from runner.modules.base import Unknown


class Clusters:
    """Clusters by the inventory's variables `kubeconfig` and `kubernetes_context`.

    Args:
        kubeconfig, context: given on the command line; they win over the inventory's.
    """

    def __init__(
        self, hosts: Sequence[Host], kubeconfig: Path | None = None, context: str | None = None
    ) -> None:
        self._hosts = tuple(hosts)
        self._given = (kubeconfig, context)
        self._reading = threading.Lock()
        self._clusters: dict[tuple[Path | None, str | None], Cluster] = {}
        self._nodes: dict[str, NodeState | Unknown] = {}
        self._snapshots: dict[Cluster, Snapshot] = {}
        self.rollouts: dict[Cluster, RolloutLock] = {}
        """The locks that this run holds while it takes nodes out of service."""
        self._leases: dict[Cluster, Mapping[str, NodeLease] | Unknown] = {}
        self._objects: list[tuple[Cluster, ClusterQuery, ClusterAnswer | Unknown]] = []

    def of(self, host: Host) -> Cluster | None:
        """The cluster a host belongs to; None when none is configured."""
        path, context = self._given
        if path is None:
            path = _kubeconfig(host)
        if path is None and not in_cluster():
            return None
        context = context or host.variables.get("kubernetes_context")
        key = (path, context)
        if key not in self._clusters:
            self._clusters[key] = Cluster(path, context)
        return self._clusters[key]

    def configured(self, host: Host) -> bool:
        """Whether a cluster is named for a host; nothing is read of it."""
        return (self._given[0] or _kubeconfig(host)) is not None

    def node(self, host: Host) -> NodeState | Unknown | None:
        """The cluster's view of a host; the first call reads those of all the play's hosts at
        once, another host is read when it is asked for."""
        with self._reading:
            cluster = self.of(host)
            if cluster is None:
                return None
            if host.name not in self._nodes and host not in self._hosts:
                self._nodes.update(read_nodes(cluster, [host])[0])
            elif host.name not in self._nodes:
                together = [h for h in self._hosts if self.of(h) is cluster]
                found, self._snapshots[cluster] = read_nodes(cluster, together)
                self._nodes.update(found)
            return self._nodes[host.name]

    def preview(self, host: Host, plan: HostPlan) -> DrainPreview | Unknown | None:
        """What a drain for this plan would do; None: nothing has to go, or no node is known."""
        node, cluster = self.node(host), self.of(host)
        if cluster is None or not isinstance(node, NodeState) or not disrupts(plan):
            return None
        holders = plan.gpu_users.pods() if isinstance(plan.gpu_users, GpuUsers) else {}
        options, mode = plan.drain, drain_mode(plan)
        try:
            return preview(self._snapshots[cluster], node, options, mode, holders, frees_gpus(plan))
        except ClusterError as error:
            return Unknown(str(error))

    def new_wave(self) -> None:
        """Forget what was read of the clusters for all nodes: it is read anew, once."""
        with self._reading:
            for cluster in self._snapshots:
                self._snapshots[cluster] = Snapshot(cluster)

    def snapshot(self, host: Host) -> Snapshot:
        """What all nodes of the host's cluster share in this wave."""
        cluster = self.of(host)
        assert cluster is not None
        with self._reading:
            return self._snapshots.setdefault(cluster, Snapshot(cluster))

    def lock(self, host: Host) -> NodeLease | Unknown | None:
        """The lock of a host's node; those of a cluster are read once. None: no cluster."""
        node = self.node(host)
        return self._lease(host, lease_name(node.name)) if isinstance(node, NodeState) else node

    def rollout(self, host: Host) -> NodeLease | Unknown | None:
        """The lock of the rollout on a host's cluster. None: no cluster."""
        return self._lease(host, ROLLOUT)

    def _lease(self, host: Host, name: str) -> NodeLease | Unknown | None:
        with self._reading:
            cluster = self.of(host)
            if cluster is None:
                return None
            if cluster not in self._leases:
                self._leases[cluster] = _read_leases(cluster)
            leases = self._leases[cluster]
            if isinstance(leases, Unknown):
                return leases
            return leases.get(name, NodeLease(name))

    def look(self, host: Host, query: ClusterQuery) -> ClusterAnswer | Unknown:
        """An object of the host's cluster; equal questions of several hosts are asked once."""
        with self._reading:
            cluster = self.of(host)
            if cluster is None:
                return Unknown(NO_CLUSTER)
            for known, asked, answer in self._objects:
                if known is cluster and asked == query:
                    return answer
            answer = look_at(cluster, query)
            self._objects.append((cluster, query, answer))
            return answer


def look_at(cluster: Cluster, query: ClusterQuery) -> ClusterAnswer | Unknown:
    """The cluster's answer, or why there is none."""
    try:
        return cluster.look(query)
    except ClusterError as error:
        return Unknown(str(error))


def _read_leases(cluster: Cluster) -> Mapping[str, NodeLease] | Unknown:
    try:
        return read_leases(cluster)
    except ClusterError as error:
        return Unknown(str(error))


def read_nodes(
    cluster: Cluster, hosts: Sequence[Host]
) -> tuple[dict[str, NodeState | Unknown], Snapshot]:
    """One read of the cluster: host name -> its node, or why that is not known.

    A second read follows only where a node has no name that a host gives it: for its long name.
    """
    names = {name for host in hosts for name in host.node_names}
    snapshot = Snapshot(cluster, sorted(names))
    try:
        nodes = snapshot.nodes()
        lost = [host for host in hosts if not _found(host, nodes)]
        longer = _longer_names(cluster, lost)
        if any(longer.values()):
            names |= {name for more in longer.values() for name in more}
            snapshot = Snapshot(cluster, sorted(names))
            nodes = snapshot.nodes()
    except ClusterError as error:
        return {host.name: Unknown(str(error)) for host in hosts}, snapshot
    return {host.name: _find(host, nodes, longer.get(host.name, ())) for host in hosts}, snapshot


def _longer_names(cluster: Cluster, hosts: Sequence[Host]) -> dict[str, tuple[str, ...]]:
    """Host name -> nodes whose long names begin with its short one (gpu1: gpu1.example.com)."""
    short = [host for host in hosts if "." not in host.node_name]
    if not short:
        return {}
    known = cluster.node_names()
    return {
        host.name: tuple(name for name in known if name.startswith(f"{host.node_name}."))
        for host in short
    }


def _found(host: Host, nodes: Mapping[str, NodeState]) -> NodeState | None:
    return next((nodes[name] for name in host.node_names if name in nodes), None)


def _find(host: Host, nodes: Mapping[str, NodeState], longer: Sequence[str]) -> NodeState | Unknown:
    found = _found(host, nodes)
    if found is not None:
        return found
    named = "(the inventory variable 'kubernetes_node' names the node of a host)"
    if len(longer) > 1:
        return Unknown(f"'{host.node_name}' may be any of {', '.join(longer)} {named}")
    if longer and longer[0] in nodes:
        return nodes[longer[0]]
    return Unknown(f"the cluster has no node '{host.node_name}' {named}")


def _kubeconfig(host: Host) -> Path | None:
    named = host.variables.get("kubeconfig")
    if named:
        return Path(str(named)).expanduser()
    usual = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return Path(usual) if os.pathsep in usual or Path(usual).exists() else None


class NodeMaintenance(Maintenance):
    """One node of a cluster while a run works on its host."""

    def __init__(
        self,
        snapshot: Snapshot,
        host: Host,
        node: NodeState,
        run: str,
        lock: Lock,
        events: Events,
        stop: threading.Event,
        heir_of: str = "",
        rollout: RolloutLock | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._cluster = snapshot.cluster
        self._host = host
        self._node = node.name
        self._run = run
        self._heir_of = heir_of
        self._events = events
        self._stop = stop
        self._rollout = rollout
        self._lock = lock
        self._entered = maintenance.RUN in node.annotations

    def lock(self) -> Lock:
        return self._lock

    def lost(self) -> bool:
        return self._lock.lost() or (self._rollout is not None and self._rollout.lost.is_set())

    def enter(self, plan: HostPlan) -> None:
        """Cordon, drain, and pause GPU DaemonSets where the GPU must be free. A node that the run
        which is brought back still holds is ours from then on."""
        if self._heir_of and self._entered:
            maintenance.inherit(self._cluster, self._node, self._heir_of, self._run)
            self._progress(f"{self._node} is taken over from run {self._heir_of}")
        if not disrupts(plan):
            return
        mode: DrainMode = drain_mode(plan)
        self._entered = True
        cordon = maintenance.begin(self._cluster, self._node, self._run, plan.drain.taint)
        self._progress(cordon.note or f"cordoned {self._node}")
        # Pods first: a budget may hold them for long; monitoring lasts until they are gone.
        try:
            self._free(plan, mode)
        except ClusterError as error:
            if self._stop.is_set():
                raise Interrupted(f"stopped while draining {self._node}") from error
            raise

    def _free(self, plan: HostPlan, mode: DrainMode) -> None:
        holders = plan.gpu_users.pods() if isinstance(plan.gpu_users, GpuUsers) else {}
        drain.drain(
            self._snapshot,
            self._node,
            plan.drain,
            mode,
            self._progress,
            self._stop,
            holders,
            guard=lambda: maintenance.check_cordoned(self._cluster, self._node),
        )
        maintenance.check_cordoned(self._cluster, self._node)
        if frees_gpus(plan):
            maintenance.pause_daemonsets(
                self._cluster,
                self._node,
                self._run,
                self._progress,
                self._stop,
                plan.drain.skip_wait_for_delete_timeout if plan.unreachable else 0,
            )

    def resume_pods(self) -> None:
        if self._entered:
            # Bounded by its own deadline; an interrupted run still gives the pods back.
            maintenance.resume_daemonsets(
                self._cluster, self._node, self._run, self._progress, threading.Event()
            )

    def perform(self, action: ClusterAction, since: datetime) -> Mapping[str, Any]:
        # Part of making a changed node whole: bounded by its own deadline, not ended by a stop.
        return self._cluster.perform(
            self._node,
            action,
            since=since,
            progress=self._progress,
            stop=threading.Event(),
            run=self._run,
        )

    def leave(self) -> str:
        if not self._entered:
            return ""
        self.resume_pods()
        note = maintenance.end(self._cluster, self._node, self._run)
        self._entered = False
        return note

    def left(self) -> str:
        if not self._entered:
            return ""
        return (
            f"node {self._node} stays cordoned, its GPU DaemonSets may be paused: "
            f"gpurun resume {self._run}"
        )

    def read_node(self) -> NodeState | Unknown:
        return read_nodes(self._cluster, [self._host])[0][self._host.name]

    def read_object(self, query: ClusterQuery) -> ClusterAnswer | Unknown:
        return look_at(self._cluster, query)

    def _progress(self, text: str) -> None:
        self._events.emit("progress", self._host.name, text)
