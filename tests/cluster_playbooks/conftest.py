"""A world of two nodes, behind the engine's connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.engine import pending
from runner.engine import run as engine
from runner.hosts.script import Command, Result
from runner.inventory.model import Host
from runner.kube import actions, waiting
from tests.cluster_playbooks.world import World
from tests.engine.local_host import LocalHost


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path, ("gpu1", "gpu2"))

    class Connection(LocalHost):
        """The simulated host behind the engine's connection."""

        def __init__(self, host: Host, **_: Any) -> None:
            super().__init__()
            self.simulated = world.hosts[host.name]

        def open(self) -> None: ...
        def close(self) -> None: ...

        def look(self, commands: Sequence[Command]) -> dict[str, Result]:
            return {command.key: self.simulated.sh(command.shell) for command in commands}

    monkeypatch.setattr(engine, "Connection", Connection)
    monkeypatch.setattr(waiting, "POLL", 0.01)
    monkeypatch.setattr(actions, "APART", 0.05)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Not this machine's own, which other test processes may use at the same time.
    monkeypatch.setattr(pending, "_FOLDER", f"d={tmp_path}/pending; ")
    with world.lab as lab:
        lab.settle()
        yield world
