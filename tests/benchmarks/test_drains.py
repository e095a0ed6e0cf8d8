"""The benchmark of drains measures what it says."""

from __future__ import annotations

import re

from benchmarks import drains


def test_every_pod_is_in_a_drain_and_requests_do_not_grow_with_the_nodes() -> None:
    few, many = drains.measure(4, 30), drains.measure(12, 30)
    assert re.match(r"drains of 4 nodes with 30 pods each planned in \d+\.\d s with", few)
    assert few.split()[-2:] == many.split()[-2:]
