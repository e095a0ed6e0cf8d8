"""How many hosts go first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from runner.inventory.model import Host
from runner.playbook.document import Play

T = TypeVar("T")


def waves(hosts: Sequence[T], sizes: Sequence[str]) -> list[list[T]]:
    """Hosts in waves. A size is a count ("2") or a percentage of all hosts ("25%", rounded up);
    the last size repeats until no host is left.

    >>> waves(["a", "b", "c", "d"], ["1", "100%"])
    [['a'], ['b', 'c', 'd']]
    """
    left = list(hosts)
    result = []
    index = 0
    while left:
        size = sizes[min(index, len(sizes) - 1)] if sizes else "100%"
        count = _count(size, len(hosts))
        result.append(left[:count])
        left = left[count:]
        index += 1
    return result


def too_many(failed: int, play: Play, hosts: int) -> bool:
    """Whether so many failed hosts, of all hosts of the play, keep further waves from beginning.

    A percentage has to be exceeded, as Ansible's `max_fail_percentage` has.
    """
    if play.max_failed_percent is None:
        return failed > play.max_failed
    return failed * 100 > play.max_failed_percent * hosts


def ordered(hosts: Sequence[Host], order: str) -> list[Host]:
    """Hosts as the play's `order` wants them (Ansible's `order` of a play)."""
    found = list(hosts)
    if order.endswith("sorted"):
        found.sort(key=lambda host: host.name)
    return found[::-1] if order.startswith("reverse") else found


def _count(size: str, total: int) -> int:
    if size.endswith("%"):
        return max(1, math.ceil(total * float(size[:-1]) / 100))
    return max(1, int(size))
