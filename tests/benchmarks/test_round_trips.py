"""Twenty small files through the whole program: what goes over the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.round_trips import measure
from benchmarks.targets import direct
from tests.conftest import LabUnderTest


@pytest.mark.lab
def test_twenty_files_take_at_most_ten_round_trips(lab: LabUnderTest, tmp_path: Path) -> None:
    lab.reset("gpu-t1")
    counted = measure(direct(lab.nodes["gpu-t1"]), lab.lab.key, tmp_path)
    lab.reset("gpu-t1")
    assert (counted.changed.connections, counted.unchanged.connections) == (1, 1)
    assert counted.changed.turns <= 10
    assert counted.unchanged.turns <= 7
    assert counted.changed.sent + counted.changed.received < 200_000
    assert counted.unchanged.sent + counted.unchanged.received < 60_000
