"""One read of the cluster for all who want to know the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Round(Generic[T]):
    """One read, and whom it is for."""

    names: set[str] = field(default_factory=set)
    done: threading.Event = field(default_factory=threading.Event)
    answer: T | None = None
    error: Exception | None = None


class Joined(Generic[T]):
    """Answers each caller with a read that began after it asked.

    While one read is under way, all who ask meanwhile share the next one. So many nodes that are
    drained at once cost about as many requests as one.

    Args:
        read: reads for these names, all at once.
    """

    def __init__(self, read: Callable[[frozenset[str]], T]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._next: _Round[T] = _Round()

    def ask(self, name: str) -> T:
        """The answer for a name. Raises what `read` raises."""
        with self._lock:
            mine = self._next
            mine.names.add(name)
        with self._reading:
            if not mine.done.is_set():
                self._answer(mine)
        if mine.error is not None:
            raise mine.error
        assert mine.answer is not None
        return mine.answer

    def _answer(self, mine: _Round[T]) -> None:
        with self._lock:
            self._next = _Round()
        try:
            mine.answer = self._read(frozenset(mine.names))
        except Exception as error:
            mine.error = error
        mine.done.set()
