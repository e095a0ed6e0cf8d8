"""What a run knows of each host of a play, and who of them goes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runner.engine.ending import HostResult
from runner.engine.gates import Gate
from runner.engine.planning import HostPlan, StepKey
from runner.engine.settings import Settings
from runner.engine.subject import Once, Subject
from runner.hosts.connection import Connection
from runner.inventory.model import Host
from runner.kube.maintenance import RUN
from runner.kube.preview import DrainPreview
from runner.kube.state import NodeState
from runner.modules.base import Unknown
from runner.playbook.document import Play

WENT_WELL = ("ok", "changed")
"""How a host ended that later plays may build on."""


@dataclass(slots=True)
class HostState:
    """All that a run knows of one host of one play."""

    host: Host
    play: Play
    subject: Subject
    observed: dict[str, Any] = field(default_factory=dict)
    connection: Connection | None = None
    plan: HostPlan | None = None
    node: NodeState | Unknown | None = None
    preview: DrainPreview | Unknown | None = None
    gate: Gate = Gate("allow")  # noqa: RUF009
    result: HostResult | None = None
    kept: Mapping[str, Any] | None = None
    """What its tasks registered and set, once they are done."""

    inherits: str = ""
    """The run that left the node out of service, from which it is taken over and given back."""

    left_behind: bool = False
    """An earlier try of this run left the node out of service; this one gives it back."""

    leads: bool = False
    """It does what is done once for all hosts of the play."""

    @property
    def leads_on(self) -> bool:
        """What is done once has not gone wrong here."""
        return self.result is None or self.result.status in WENT_WELL

    @property
    def waits_for_work(self) -> bool:
        """Passed the gates with something to do."""
        return self.result is None and self.plan is not None and self.gate.verdict != "deny"


def tell_others(
    states: Sequence[HostState], leader: HostState, kept: Mapping[StepKey, Mapping[str, Any]]
) -> None:
    """Let the other hosts of a play have what the one that does things once kept."""
    for state in states:
        if state is not leader:
            state.subject = replace(state.subject, once=Once(leader.host.name, kept))


def leader_first(wave: Sequence[HostState]) -> list[list[HostState]]:
    """A wave as groups that are begun one after the other."""
    groups = [[s for s in wave if s.leads], [s for s in wave if not s.leads]]
    return [group for group in groups if group]


def good(result: HostResult | None) -> bool:
    """Whether a wave went well with this host."""
    return result is not None and result.status in ("ok", "changed", "denied")


def without_refused(hosts: Sequence[Host], before: Sequence[HostState]) -> list[Host]:
    """Hosts that no earlier play had to leave alone: a play builds on those before it."""
    refused = {s.host.name for s in before if s.result and s.result.status not in WENT_WELL}
    return [host for host in hosts if host.name not in refused]


def broken(states: Sequence[HostState]) -> bool:
    """A play of an apply that went wrong: the next one must not build on it."""
    return any(
        s.result is not None and s.result.status in ("failed", "drifted", "skipped") for s in states
    )


def left_in_maintenance(state: HostState, settings: Settings) -> bool:
    """An earlier try of this run, or its predecessor, left the host's node in maintenance."""
    node = state.node
    ours = [run for run in (settings.run, settings.heir_of(state.host.name)) if run]
    return isinstance(node, NodeState) and node.annotations.get(RUN) in ours
