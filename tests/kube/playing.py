"""Whole runs of playbooks whose hosts are this machine and whose nodes are the world's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.engine.events import Event, Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.inventory.model import Host, Inventory
from runner.playbook.load import load_playbook
from tests.engine.local_host import LocalHost
from tests.kube.world import World

ORIGIN = Origin("hosts.yaml", 1, 1)


class Local(LocalHost):
    """Stands for the SSH connection of a host."""

    def __init__(self, host: Host, **_: Any) -> None:
        super().__init__()

    def open(self) -> None: ...

    def close(self) -> None: ...


def inventory(names: Sequence[str], **variables: Any) -> Inventory:
    """Hosts of these nodes, all of them in group gpu."""
    hosts = {name: Host(name, "192.0.2.1", ORIGIN, variables=variables) for name in names}
    return Inventory(("x",), hosts, {"all": tuple(hosts), "gpu": tuple(hosts)})


def play(world: World, playbook: Path, names: Sequence[str], **extra: Any) -> tuple[set[str], str]:
    """Apply a playbook; the hosts' ends, and everything that was told."""
    told: list[Event] = []
    run = Run(
        load_playbook(playbook),
        inventory(names),
        Settings(run="run-1", kubeconfig=world.kubeconfig, extra=extra),
        Events([told.append]),
        lambda states: True,
        Stop(),
    )
    states: list[HostState] = run.apply()
    lines = [f"{event.kind} {event.text} {event.data.get('reason', '')}" for event in told]
    lines += [f"{state.host.name}: {state.result.reason}" for state in states if state.result]
    plans = [state.plan for state in states if state.plan]
    lines += [change.summary for plan in plans for step in plan.steps for change in step.changes]
    lines += [text for plan in plans for step in plan.steps for text in step.messages]
    return {state.result.status for state in states if state.result}, "\n".join(lines)
