"""Waves: how many hosts go first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.waves import waves


@pytest.mark.parametrize(
    ("count", "sizes", "expected"),
    [
        (5, ["1", "100%"], [1, 4]),
        (1, ["1", "100%"], [1]),
        (0, ["1"], []),
        (10, ["10%", "50%", "100%"], [1, 5, 4]),
        (7, ["2"], [2, 2, 2, 1]),
        (3, ["1%"], [1, 1, 1]),
        (3, [], [3]),
    ],
)
def test_sizes(count: int, sizes: list[str], expected: list[int]) -> None:
    assert [len(wave) for wave in waves(range(count), sizes)] == expected


@given(st.lists(st.integers()), st.lists(st.sampled_from(["1", "3", "25%", "100%"])))
def test_every_host_is_in_exactly_one_wave_in_order(hosts: list[int], sizes: list[str]) -> None:
    assert [host for wave in waves(hosts, sizes) for host in wave] == hosts
