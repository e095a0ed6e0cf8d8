"""A play wave by wave: what asks is approved, then the hosts of a wave are worked on at once."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Mapping, Sequence

from runner.engine.clusters import Clusters, NodeMaintenance
from runner.engine.delegates import Delegates
from runner.engine.enact import HostRun
from runner.engine.ending import HostResult
from runner.engine.events import Events
from runner.engine.gpu_users import users_probe
from runner.engine.host_lock import LockedHost
from runner.engine.kept import Keeper
from runner.engine.locks import Locks
from runner.engine.maintenance import HostMaintenance, Maintenance
from runner.engine.once import kept_once
from runner.engine.parallel import in_parallel
from runner.engine.rollouts import rollouts
from runner.engine.settings import Settings
from runner.engine.states import (
    HostState,
    good,
    leader_first,
    left_in_maintenance,
    tell_others,
)
from runner.engine.stop import Stop
from runner.engine.subject import as_the_inventory_says
from runner.engine.waves import too_many, waves
from runner.engine.work import Work
from runner.inventory.model import Host
from runner.kube.state import NodeState

Review = Callable[[Sequence[HostState]], bool]
"""Shown every plan of a play before anything is done; whether those that ask are approved."""


class RollingOut:
    """Enacts the plans of one play after the other.

    Args:
        hosts: of the inventory, by name.
        review: called once per play with all plans; False denies the hosts whose gates ask.
        keeper: keeps what is changed, for a rollback.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        settings: Settings,
        events: Events,
        review: Review,
        stop: Stop,
        delegates: Delegates,
        keeper: Keeper | None,
    ) -> None:
        self._hosts = hosts
        self._settings = settings
        self._events = events
        self._review = review
        self._stop = stop
        self._delegates = delegates
        self._keeper = keeper

    def enact(self, states: list[HostState], clusters: Clusters) -> None:
        """Do what the plans of a play say, once those that ask are approved."""
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
            users = users_probe(as_the_inventory_says(states[0].play, host))
            return users.become, users.user

        opened = {state.host.name: state.connection for state in states if state.connection}
        return Locks(
            clusters,
            self._hosts,
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
                    in_parallel(
                        group,
                        lambda state: self._enact_one(state, states, clusters, locks),
                        self._settings.forks,
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
            touched=left_in_maintenance(state, self._settings),
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


def _holder() -> str:
    """Who holds this run's locks, for people."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
