"""Waves: how many hosts go first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.waves import ordered, too_many, waves
from runner.errors import Origin
from runner.inventory.model import Host
from runner.playbook.document import Play


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


@pytest.mark.parametrize(
    ("number", "percent", "hosts", "most"),
    [(0, None, 10, 0), (2, None, 10, 2), (0, 20.0, 10, 2), (0, 25.0, 10, 2), (0, 0.0, 3, 0)],
)
def test_so_many_may_fail(number: int, percent: float | None, hosts: int, most: int) -> None:
    play = Play("p", "all", Origin("p"), max_failed=number, max_failed_percent=percent)
    assert not too_many(most, play, hosts)
    assert too_many(most + 1, play, hosts)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("inventory", "b c a"),
        ("reverse_inventory", "a c b"),
        ("sorted", "a b c"),
        ("reverse_sorted", "c b a"),
    ],
)
def test_order(order: str, names: str) -> None:
    hosts = [Host(name, name, Origin("hosts")) for name in ("b", "c", "a")]
    assert [host.name for host in ordered(hosts, order)] == names.split()
