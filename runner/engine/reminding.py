"""Saying now and then that something still runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONG = 300.0
"""Seconds; of what cannot take so long nothing is said."""
EVERY = 60.0
"""Seconds between two reminders."""


@contextmanager
def reminded(say: Callable[[str], None], what: str, most: float) -> Iterator[None]:
    """Says every minute that `what` still runs, while the block does.

    Args:
        most: seconds that it may take.
    """
    if most < LONG:
        yield
        return
    over = threading.Event()
    began = time.monotonic()

    def remind() -> None:
        while not over.wait(EVERY):
            say(f"{what}: running for {time.monotonic() - began:.0f} s, may take {most:g} s")

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
