from __future__ import annotations

from collections.abc import Iterator

import pytest

from runner.lab.kube import LabCluster, SimulatedNode
from tests.kube.clocks import hurry


@pytest.fixture
def cluster() -> Iterator[LabCluster]:
    """Three nodes of two GPUs, without workloads; nothing takes time."""
    nodes = [SimulatedNode(name, count=2) for name in ("gpu1", "gpu2", "gpu3")]
    with LabCluster(nodes) as cluster:
        yield cluster


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
