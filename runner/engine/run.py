"""One run: plan every host, gate, and enact wave by wave."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from runner.engine.clusters import Clusters, NodeMaintenance
from runner.engine.delegates import Delegates, found
from runner.engine.enact import HostRun
from runner.engine.ending import HostResult, HostStatus, Interrupted
from runner.engine.events import Events
from runner.engine.gates import Gate, disrupts, gate, lock_reason
from runner.engine.gpu_users import users_probe
from runner.engine.host_lock import KEY, LockedHost, host_lock_reason, lock_probe
from runner.engine.kept import Keeper
from runner.engine.locks import Locks, locked_elsewhere
from runner.engine.maintenance import HostMaintenance, Maintenance
from runner.engine.observe import observe
from runner.engine.once import does_once, kept_once
from runner.engine.parallel import in_parallel
from runner.engine.planner import plan_host
from runner.engine.planning import HostPlan, PlannedStep, Progress
from runner.engine.rollback import NotUndone
from runner.engine.rollouts import rollouts
from runner.engine.secrets import read_secrets
from runner.engine.settings import Settings
from runner.engine.states import (
    HostState,
    broken,
    good,
    leader_first,
    tell_others,
    without_refused,
)
from runner.engine.stop import Stop
from runner.engine.subject import Subject
from runner.engine.tries import Tries, forget
from runner.engine.waves import ordered, too_many, waves
from runner.engine.work import Work
from runner.errors import GpurunError, UnreachableError
from runner.facts.kubernetes import NO_CLUSTER
from runner.facts.system import REACHABLE_KEY
from runner.hosts.connection import Connection
from runner.hosts.errors import SilentError
from runner.inventory.load import select
from runner.inventory.model import LOCALHOST, Host, Inventory
from runner.kube.lock import ROLLOUT_OF
from runner.kube.maintenance import RUN
from runner.kube.state import NodeState
from runner.modules.base import Probe, Unknown
from runner.playbook import controller
from runner.playbook.document import Play, Playbook, TemplateText
from runner.secrets.value import reveal

Review = Callable[[Sequence[HostState]], bool]
"""Shown every plan of a play before anything is done; whether those that ask are approved."""


class Run:
    """Plans and applies a playbook on an inventory.

    Args:
        review: called once per play with all plans; False denies the hosts whose gates ask.
        stop: set to end after the current step of every host.
        keeper: keeps what is changed, for a rollback.
        not_undone: what a rollback leaves as it is.
    """

    def __init__(
        self,
        playbook: Playbook,
        inventory: Inventory,
        settings: Settings,
        events: Events,
        review: Review,
        stop: Stop,
        keeper: Keeper | None = None,
        not_undone: Sequence[NotUndone] = (),
    ) -> None:
        self.not_undone = tuple(not_undone)
        self._keeper = keeper
        self._playbook = playbook
        self._inventory = inventory
        self._settings = settings
        self._events = events
        self._review = review
        self._stop = stop
        controller.forget()
        self._connections: dict[str, Connection] = {}
        self._connecting = threading.Lock()
        self._delegates = Delegates(self._connected, inventory.hosts)
        self._groups = {name: list(hosts) for name, hosts in inventory.groups.items()}
        self._kept: dict[str, Mapping[str, Any]] = {}
        """Host -> what the tasks of the plays so far registered and set."""
        self._plays = [
            (play, ordered(select(inventory, play.hosts, settings.limit), play.order))
            for play in playbook.plays
        ]
        """Patterns are looked up before any host is touched."""

    @property
    def digest(self) -> str:
        """SHA-256 of the playbook's text, imported files included."""
        return hashlib.sha256(self._playbook.text.encode()).hexdigest()

    def read_secrets(self) -> None:
        """Read every secret that the plays need; no host is spoken to.

        Raises:
            InputError: with every one that cannot be read.
        """
        folder, hosts = self._playbook.path.parent, self._inventory.hosts
        read_secrets(self._plays, self._settings.extra, folder, hosts)

    def plan(self) -> list[HostState]:
        """What every play would do, as things are now; nothing is changed."""
        return self._through(lambda states, clusters: None)

    def apply(self) -> list[HostState]:
        """Plan, gate and enact play after play; a play with failures ends the run."""
        return self._through(self._enact)

    def _through(self, act: Callable[[list[HostState], Clusters], None]) -> list[HostState]:
        everything: list[HostState] = []
        try:
            for play, hosts in self._plays:
                if self._stop.is_set() or broken(everything):
                    break
                hosts = without_refused(hosts, everything)
                clusters = Clusters(hosts, self._settings.kubeconfig, self._settings.context)
                states = self._look(play, hosts, clusters)
                everything += states
                act(states, clusters)
                for state in states:
                    self._keep(state)
                    self._close_play(state)
        finally:
            for connection in self._connections.values():
                connection.close()
        return everything

    # -- plan and gate ------------------------------------------------------------------------

    def _look(self, play: Play, hosts: Sequence[Host], clusters: Clusters) -> list[HostState]:
        names, kept = tuple(host.name for host in hosts), dict(self._kept)
        states = [
            HostState(host, play, self._subject(host, play, names, kept, clusters))
            for host in hosts
        ]
        others = self._lead(states, clusters) if does_once(play) else states
        self._in_parallel(others, lambda state: self._plan_one(state, clusters))
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
            _as_the_inventory_says(play, host),
            play.path or self._playbook.path,
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
        if isinstance(state.node, NodeState) and self._abandoned(state):
            holder = state.node.annotations[RUN]
            left = f"still cordoned by run {holder}: gpurun resume {holder}"
            state.result = replace(state.result, left=left)

    def _reached(self, state: HostState) -> Connection:
        """The host's connection; of a host that does not answer, where the play goes on so."""
        if not state.play.ignore_unreachable:
            return self._connected(state.host)
        why = ""
        try:
            self._connected(state.host)
        except SilentError as error:
            why = error.message
        state.observed[REACHABLE_KEY] = why
        return self._connections[state.host.name]

    def _connected(self, host: Host) -> Connection:
        with self._connecting:
            if host.name not in self._connections:
                self._connections[host.name] = Connection(
                    host,
                    connect_timeout=self._settings.connect_timeout,
                    become_password=self._settings.become_password or reveal(host.become_password),
                )
            connection = self._connections[host.name]
        connection.open()
        return connection

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
        state.left_behind = self._settings.resumed and not held and self._abandoned(state)
        if (self._settings.resumed or heir_of) and isinstance(state.node, Unknown):
            holder = f"run {heir_of}" if heir_of else "this run"
            why = f"whether {holder} still holds the node is not known: {state.node}"
            state.gate = Gate("deny", (why,), "unknown")
        if state.gate.verdict == "deny":
            reason = "; ".join(state.gate.reasons)
            away = bool(plan.unreachable) and state.gate.status == "unknown"
            status: HostStatus = "unreachable" if away else state.gate.status
            state.result = HostResult(state.host.name, status, reason)
        elif not plan.pending and not self._abandoned(state):
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

    def _abandoned(self, state: HostState) -> bool:
        """An earlier try of this run, or its predecessor, left the node in maintenance."""
        node, settings = state.node, self._settings
        ours = [run for run in (settings.run, settings.heir_of(state.host.name)) if run]
        return isinstance(node, NodeState) and node.annotations.get(RUN) in ours

    # -- enact --------------------------------------------------------------------------------

    def _enact(self, states: list[HostState], clusters: Clusters) -> None:
        self._ask(states)
        self._stop.gentle = True
        try:
            with rollouts(
                states,
                clusters,
                self._settings,
                _holder(),
                self._stop,
                lambda host, text: self._events.emit("progress", host, text),
                self._ended,
            ) as clusters.rollouts:
                self._waves(states, clusters, self._locks(states, clusters))
        finally:
            self._stop.gentle = False

    def _locks(self, states: Sequence[HostState], clusters: Clusters) -> Locks:
        """The locks of the play's hosts, and of those that its tasks are delegated to."""

        def owner(host: Host) -> tuple[bool, str]:
            users = users_probe(_as_the_inventory_says(states[0].play, host))
            return users.become, users.user

        opened = {state.host.name: state.connection for state in states if state.connection}
        return Locks(
            clusters,
            self._inventory.hosts,
            self._settings,
            _holder(),
            owner,
            lambda host: opened.get(host.name) or self._delegates.connection(host.name),
            self._stop,
            lambda host, text: self._events.emit("progress", host, text),
        )

    def _waves(self, states: list[HostState], clusters: Clusters, locks: Locks) -> None:
        work = [state for state in states if state.waits_for_work]
        leader = next((state for state in states if state.leads), None)
        failed = 0
        for number, wave in enumerate(waves(work, states[0].play.waves if states else ())):
            play = states[0].play
            if self._stop.is_set() or too_many(failed, play, len(states)):
                why = "stopped" if self._stop.is_set() else f"{failed} host(s) failed before it"
                for state in wave:
                    self._ended(state, HostResult(state.host.name, "skipped", f"not begun: {why}"))
                continue
            clusters.new_wave()
            names = ", ".join(state.host.name for state in wave)
            self._events.emit("wave-started", "", names, number=number + 1)
            for group in leader_first(wave):
                if leader is not None and not leader.leads_on:
                    self._not_led(group, leader)
                else:
                    self._in_parallel(
                        group, lambda state: self._enact_one(state, states, clusters, locks)
                    )
            failed += sum(1 for state in wave if not good(state.result))

    def _not_led(self, states: Sequence[HostState], leader: HostState) -> None:
        assert leader.result is not None
        why = f"not begun: what is done once, on {leader.host.name}, is {leader.result.status}"
        for state in states:
            if state is not leader:
                self._ended(state, HostResult(state.host.name, "skipped", why))

    def _ask(self, states: list[HostState]) -> None:
        approved = self._review(states)
        for state in states:
            if state.waits_for_work and state.gate.verdict == "ask" and not approved:
                reason = f"{'; '.join(state.gate.reasons)}: not approved (--yes approves)"
                self._ended(state, HostResult(state.host.name, "denied", reason))

    def _enact_one(
        self, state: HostState, states: Sequence[HostState], clusters: Clusters, locks: Locks
    ) -> None:
        assert state.plan is not None and state.connection is not None
        if self._stop.is_set():
            self._ended(state, HostResult(state.host.name, "skipped", "not begun: stopped"))
            return
        node = self._maintenance(state, clusters, locks)
        work = Work(
            state.subject,
            state.plan,
            state.observed,
            node.host if isinstance(node, HostMaintenance) else state.connection,
            node,
            self._events,
            self._stop,
            self._delegates,
            touched=self._abandoned(state),
            keeper=self._keeper,
            locks=locks,
        )
        try:
            result = HostRun(work).run()
            state.kept = work.kept
            if state.leads:
                tell_others(states, state, kept_once(work.plan, work.done))
        except Exception as error:
            result = HostResult(
                state.host.name, "failed", f"internal error: {error!r}", node.left()
            )
        self._ended(state, result)

    def _maintenance(self, state: HostState, clusters: Clusters, locks: Locks) -> Maintenance:
        lock, cluster = locks.of(state.host), clusters.of(state.host)
        if isinstance(lock, LockedHost):
            return HostMaintenance(lock)
        assert cluster is not None and isinstance(state.node, NodeState)
        return NodeMaintenance(
            clusters.snapshot(state.host),
            state.host,
            state.node,
            self._settings.run,
            lock,
            self._events,
            self._stop,
            self._settings.heir_of(state.host.name),
            clusters.rollouts.get(cluster),
        )

    def _ended(self, state: HostState, result: HostResult) -> None:
        state.result = result
        self._events.emit(
            "host-done",
            state.host.name,
            result.reason,
            status=result.status,
            left=result.left,
            changed=result.changed,
        )

    def _keep(self, state: HostState) -> None:
        """Let later plays see what this one registered and set."""
        if state.kept is not None:
            self._kept[state.host.name] = state.kept
        elif state.plan is not None:
            self._kept[state.host.name] = state.plan.kept

    def _close_play(self, state: HostState) -> None:
        connection = state.connection
        if state.result is not None and state.result.status == "unreachable" and connection:
            connection.close()
            self._connections.pop(state.host.name, None)

    def _in_parallel(self, states: Sequence[HostState], act: Callable[[HostState], None]) -> None:
        in_parallel(states, act, self._settings.forks)


def _holder() -> str:
    """Who holds this run's locks, for people."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"


def _as_the_inventory_says(play: Play, host: Host) -> Play:
    """The play with the host's own `ansible_become_user`, which wins as in Ansible, and `drain`."""
    play = replace(play, drain=replace(play.drain, **host.drain)) if host.drain else play
    user = host.variables.get("ansible_become_user")
    plain = isinstance(user, str) and not isinstance(user, TemplateText)
    return replace(play, become_user=user) if plain and user else play


def _lock_probes(play: Play, host: Host | None, clusters: Clusters) -> list[Probe]:
    """The look at the lock of a host without a cluster."""
    if host is None or host is LOCALHOST or clusters.node(host) is not None:
        return []
    users = users_probe(_as_the_inventory_says(play, host))
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
