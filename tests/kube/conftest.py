"""A small cluster per test, and clocks that do not let tests wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.kube import actions, api, drain, eviction, lock, waiting
from tests.kube.world import World


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture
def world(certificates: Path, quick: None) -> Iterator[World]:
    world = World(certificates)
    yield world
    world.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is waited for is looked at every few milliseconds."""
    monkeypatch.setattr(waiting, "POLL", 0.01)
    monkeypatch.setattr(drain, "POLL", 0.01)
    monkeypatch.setattr(drain, "FIRST_POLL", 0.01)
    monkeypatch.setattr(eviction, "RETRY", 0.02)
    monkeypatch.setattr(actions, "APART", 0.1)
    monkeypatch.setattr(lock, "LOOK", 0.01)
    monkeypatch.setattr(api, "RETRY_DELAYS", (0.01, 0.01, 0.01))
