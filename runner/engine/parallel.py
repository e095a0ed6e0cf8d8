"""The same for many hosts at once, each in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

SIGNAL_SECONDS = 0.5
"""How long a Ctrl-C may go unheard: a signal that comes just before this thread falls asleep does
not wake it (https://docs.python.org/3/library/signal.html#execution-of-python-signal-handlers)."""


def in_parallel(items: Sequence[T], act: Callable[[T], None], forks: int) -> None:
    """Call `act` with every item, at most `forks` at once; raises the first error."""
    if not items:
        return
    pool = ThreadPoolExecutor(min(forks, len(items)))
    try:
        waiting = {pool.submit(act, item) for item in items}
        while waiting:
            done, waiting = wait(waiting, SIGNAL_SECONDS, FIRST_COMPLETED)
            for future in done:
                future.result()
    finally:
        # Nothing is left to wait for, but when interrupted: then nobody waits for hosts.
        pool.shutdown(wait=False, cancel_futures=True)
