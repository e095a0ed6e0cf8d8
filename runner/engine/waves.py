"""How many hosts go first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

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


def _count(size: str, total: int) -> int:
    if size.endswith("%"):
        return max(1, math.ceil(total * float(size[:-1]) / 100))
    return max(1, int(size))
