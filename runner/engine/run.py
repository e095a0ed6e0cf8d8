"""One run: play after play, every host is surveyed, and then the play rolled out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.engine.clusters import Clusters
from runner.engine.delegates import Delegates
from runner.engine.events import Events
from runner.engine.kept import Keeper
from runner.engine.rollback import NotUndone
from runner.engine.rolling_out import Review, RollingOut
from runner.engine.secrets import read_secrets
from runner.engine.settings import Settings
from runner.engine.states import (
    HostState,
    broken,
    without_refused,
)
from runner.engine.stop import Stop
from runner.engine.survey import Survey
from runner.engine.waves import ordered
from runner.facts.system import REACHABLE_KEY
from runner.hosts.connection import Connection
from runner.hosts.errors import SilentError
from runner.inventory.load import select
from runner.inventory.model import Host, Inventory
from runner.playbook import controller
from runner.playbook.document import Playbook
from runner.secrets.value import reveal


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
        self._playbook = playbook
        self._inventory = inventory
        self._settings = settings
        self._stop = stop
        controller.forget()
        self._connections: dict[str, Connection] = {}
        self._connecting = threading.Lock()
        hosts, delegates = inventory.hosts, Delegates(self._connected, inventory.hosts)
        self._survey = Survey(
            playbook.path, inventory, settings, events, stop, delegates, self._reached
        )
        self._rolling_out = RollingOut(hosts, settings, events, review, stop, delegates, keeper)
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
        return self._through(self._rolling_out.enact)

    def _through(self, act: Callable[[list[HostState], Clusters], None]) -> list[HostState]:
        everything: list[HostState] = []
        try:
            for play, hosts in self._plays:
                if self._stop.is_set() or broken(everything):
                    break
                hosts = without_refused(hosts, everything)
                clusters = Clusters(hosts, self._settings.kubeconfig, self._settings.context)
                states = self._survey.look(play, hosts, clusters, self._kept)
                everything += states
                act(states, clusters)
                for state in states:
                    self._keep(state)
                    self._close_play(state)
        finally:
            for connection in self._connections.values():
                connection.close()
        return everything

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
