"""The benchmark of whole plans; and what a plan asks of the API, however many nodes it is for."""

from __future__ import annotations

import pytest

from benchmarks import plans

READ_ONCE = {"GET nodes": 1, "GET pods": 1, "GET poddisruptionbudgets": 1, "GET leases": 1}


@pytest.mark.parametrize(("mode", "owners"), [("full", 60), ("gpu", 20)])
def test_lists_are_read_once_and_evictions_are_tried_once_for_each_owner(
    mode: str, owners: int
) -> None:
    for nodes in (4, 12):
        planned = plans.plan(mode, nodes, 30)
        assert planned.requests == {**READ_ONCE, "POST evictions": owners}, f"{nodes} nodes"


def test_what_is_told() -> None:
    planned = plans.Planned(2.04, 1.5, 0.9, {"GET pods": 12, "GET nodes": 1}, going=6000)
    assert plans.told("full", 200, 30, planned) == (
        "gpurun plan, drain mode full: 200 nodes with 30 pods each in 2.0 s "
        "(1.5 CPU s, the API 0.9 CPU s, limit 5 s); 1 GET nodes, 12 GET pods"
    )
