"""A play before anything is changed: every host is looked at, planned and put to the gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.engine.clusters import Clusters
from runner.engine.delegates import Delegates, found
from runner.engine.ending import HostResult, HostStatus, Interrupted
from runner.engine.events import Events
from runner.engine.gates import Gate, disrupts, gate, lock_reason
from runner.engine.gpu_users import users_probe
from runner.engine.host_lock import KEY, host_lock_reason, lock_probe
from runner.engine.locks import locked_elsewhere
from runner.engine.observe import observe
from runner.engine.once import does_once, kept_once
from runner.engine.parallel import in_parallel
from runner.engine.planner import plan_host
from runner.engine.planning import HostPlan, PlannedStep, Progress
from runner.engine.settings import Settings
from runner.engine.states import (
    HostState,
    left_in_maintenance,
    tell_others,
)
from runner.engine.stop import Stop
from runner.engine.subject import Subject, as_the_inventory_says
from runner.engine.tries import Tries, forget
from runner.errors import GpurunError, UnreachableError
from runner.facts.kubernetes import NO_CLUSTER
from runner.hosts.connection import Connection
from runner.inventory.model import LOCALHOST, Host, Inventory
from runner.kube.lock import ROLLOUT_OF
from runner.kube.maintenance import RUN
from runner.kube.state import NodeState
from runner.modules.base import Probe, Unknown
from runner.playbook.document import Play


class Survey:
    """Plans the hosts of one play after the other.

    Args:
        path: of the playbook.
        reached: opens the connection to a host, or tells why it does not answer.
    """

    def __init__(
        self,
        path: Path,
        inventory: Inventory,
        settings: Settings,
        events: Events,
        stop: Stop,
        delegates: Delegates,
        reached: Callable[[HostState], Connection],
    ) -> None:
        self._path = path
        self._inventory = inventory
        self._groups = {name: list(hosts) for name, hosts in inventory.groups.items()}
        self._settings = settings
        self._events = events
        self._stop = stop
        self._delegates = delegates
        self._reached = reached

    def look(
        self,
        play: Play,
        hosts: Sequence[Host],
        clusters: Clusters,
        kept: Mapping[str, Mapping[str, Any]],
    ) -> list[HostState]:
        """Every host of a play, planned and put to the gates.

        Args:
            kept: host -> what the tasks of earlier plays registered and set.
        """
        names, kept = tuple(host.name for host in hosts), dict(kept)
        states = [
            HostState(host, play, self._subject(host, play, names, kept, clusters))
            for host in hosts
        ]
        others = self._lead(states, clusters) if does_once(play) else states
        in_parallel(others, lambda state: self._plan_one(state, clusters), self._settings.forks)
        return states

    def _lead(self, states: Sequence[HostState], clusters: Clusters) -> Sequence[HostState]:
        """Find the host that does what is done once: the first that is not refused. Returns
        those that are yet to be planned."""
        for number, state in enumerate(states):
            self._plan_one(state, clusters)
            if state.plan is not None and (state.result is None or state.result.status == "ok"):
                state.leads = True
                tell_others(states, state, kept_once(state.plan, {}))
                return states[number + 1 :]
        return ()

    def _subject(
        self,
        host: Host,
        play: Play,
        names: Sequence[str],
        kept: Mapping[str, Mapping[str, Any]],
        clusters: Clusters,
    ) -> Subject:
        return Subject(
            host,
            as_the_inventory_says(play, host),
            play.path or self._path,
            self._settings.extra,
            self._groups,
            self._inventory.hosts,
            kept,
            names,
            clusters.configured(host),
        )

    def _observed(self, state: HostState, clusters: Clusters) -> HostPlan:
        """The host's plan; preconditions that say `until` are waited for."""
        host = state.host
        connection = state.connection
        assert connection is not None
        tries = Tries(lambda text: self._events.emit("progress", host.name, text), self._stop)
        progress = Progress(tries=tries.counts)
        play = state.play
        while True:
            plan = observe(
                lambda seen: plan_host(state.subject, seen, progress),
                state.observed,
                connection,
                lambda: _or_unknown(clusters.node(host)),
                lambda query: clusters.look(host, query),
                self._delegates.connection,
                _lock_probes(play, host, clusters),
                lambda name: _lock_probes(play, found(name, self._inventory.hosts), clusters),
                play.ignore_unreachable,
            )
            waiting = next((s for s in plan.steps if _is_awaited_precondition(s)), None)
            if waiting is None:
                return plan
            tries.wait(waiting)
            forget(state.observed, waiting)

    def _plan_one(self, state: HostState, clusters: Clusters) -> None:
        try:
            state.connection = self._reached(state)
            state.plan = self._observed(state, clusters)
            self._gate(state, clusters)
        except UnreachableError as error:
            state.result = HostResult(state.host.name, "unreachable", str(error))
        except Interrupted as error:
            state.result = HostResult(state.host.name, "skipped", str(error))
        except GpurunError as error:
            state.result = HostResult(state.host.name, "failed", str(error))
        except Exception as error:
            state.result = HostResult(state.host.name, "failed", f"internal error: {error!r}")
        self._say_left(state, clusters)
        self._events.emit("host-planned", state.host.name, "", **planned(state))

    def _say_left(self, state: HostState, clusters: Clusters) -> None:
        """A run that cannot go on with a node that it, or its predecessor, has left out of service
        says so."""
        heir_of = self._settings.heir_of(state.host.name)
        if not (self._settings.resumed or heir_of) or state.result is None:
            return
        if state.result.status == "ok":
            return
        state.node = clusters.node(state.host)
        if isinstance(state.node, NodeState) and left_in_maintenance(state, self._settings):
            holder = state.node.annotations[RUN]
            left = f"still cordoned by run {holder}: gpurun resume {holder}"
            state.result = replace(state.result, left=left)

    def _gate(self, state: HostState, clusters: Clusters) -> None:
        plan = state.plan
        assert plan is not None
        heir_of = self._settings.heir_of(state.host.name)
        # Also where nothing is to do: an unfinished run may hold the node out of service.
        state.node = clusters.node(state.host)
        if plan.pending and not plan.problem:
            state.preview = clusters.preview(state.host, plan)
        state.gate = gate(
            plan,
            state.node,
            state.preview,
            self._settings.run,
            self._locked(state, clusters),
            heir_of,
        )
        held = isinstance(state.node, NodeState) and state.node.annotations.get(RUN) == heir_of
        state.inherits = heir_of if held else ""
        state.left_behind = (
            self._settings.resumed and not held and left_in_maintenance(state, self._settings)
        )
        if (self._settings.resumed or heir_of) and isinstance(state.node, Unknown):
            holder = f"run {heir_of}" if heir_of else "this run"
            why = f"whether {holder} still holds the node is not known: {state.node}"
            state.gate = Gate("deny", (why,), "unknown")
        if state.gate.verdict == "deny":
            reason = "; ".join(state.gate.reasons)
            away = bool(plan.unreachable) and state.gate.status == "unknown"
            status: HostStatus = "unreachable" if away else state.gate.status
            state.result = HostResult(state.host.name, status, reason)
        elif not plan.pending and not left_in_maintenance(state, self._settings):
            rescued = "; ".join(f"rescued: {s.label}: {s.reason}" for s in plan.steps if s.fails)
            state.result = HostResult(state.host.name, "ok", rescued)

    def _locked(self, state: HostState, clusters: Clusters) -> str:
        if state.plan is None or not state.plan.pending or isinstance(state.node, Unknown):
            return ""
        if state.node is None and state.plan.unreachable:
            return ""  # whoever approves the plan is told so
        settings = self._settings
        now, patience = datetime.now(UTC), settings.lock_timeout
        heir_of = settings.heir_of(state.host.name)
        taken = locked_elsewhere(
            state.plan, state.observed, clusters, self._inventory.hosts, settings
        )
        if taken:
            return taken
        if state.node is None:
            return host_lock_reason(state.observed.get(KEY), (settings.run, heir_of), patience)
        lease = clusters.lock(state.host)
        taken = lock_reason(lease, settings.run, now, patience, heir_of)
        if taken or not settings.rollout_lock or not disrupts(state.plan):
            return taken
        rollout, heir_of = (
            clusters.rollout(state.host),
            settings.predecessor if settings.heirs else "",
        )
        return lock_reason(rollout, settings.run, now, patience, heir_of, ROLLOUT_OF)


def _lock_probes(play: Play, host: Host | None, clusters: Clusters) -> list[Probe]:
    """The look at the lock of a host without a cluster."""
    if host is None or host is LOCALHOST or clusters.node(host) is not None:
        return []
    users = users_probe(as_the_inventory_says(play, host))
    return [lock_probe(users.become, users.user)]


def _is_awaited_precondition(step: PlannedStep) -> bool:
    return step.key.section == "preconditions" and step.waits_until


def _or_unknown(node: NodeState | Unknown | None) -> NodeState | Unknown:
    if node is None:
        return Unknown(NO_CLUSTER)
    return node


def planned(state: HostState) -> dict[str, Any]:
    """A host's plan as plain data, for events, the journal and `--output json`."""
    from runner.reports.data import host_plan

    return host_plan(state)
