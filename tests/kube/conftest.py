"""A small cluster per test, and clocks that do not let tests wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.kube import actions, api, drain, eviction, lock, waiting
from runner.lab.kube.server import ApiServer
from runner.lab.kube.store import Store
from tests.kube.world import World


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiServer, Path]]:
    """An API server and a kubeconfig for it."""
    server = ApiServer(Store(), tmp_path_factory.mktemp("api"), "127.0.0.1", 0)
    yield server, server.start()
    server.stop()


@pytest.fixture
def world(served: tuple[ApiServer, Path], quick: None) -> Iterator[World]:
    world = World(*served)
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
