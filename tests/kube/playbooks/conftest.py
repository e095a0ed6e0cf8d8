"""Two nodes with GPUs per test, behind the engine's connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.engine import run as engine
from tests.kube.playbooks.stage import Stage
from tests.kube.world import World


@pytest.fixture
def stage(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(world, tmp_path)
    monkeypatch.setattr(engine, "Connection", stage.connection())
    monkeypatch.setenv("HOME", str(tmp_path))
    yield stage
    stage.close()
