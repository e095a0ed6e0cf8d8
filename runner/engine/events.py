"""What happens during a run, as data. Journal and reports consume it; nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `kind` is one of: run-started, host-planned, gate, wave-started, step-started, step-done,
    step-failed, progress, host-done, run-ended. `host` is empty for the run itself. `data` is
    JSON-able.
    """

    kind: str
    host: str = ""
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


Observer = Callable[[Event], None]


class Events:
    """Hands every event to every observer, one at a time, secrets taken out first.

    Args:
        observers: called in order; the journal comes first, so that a step is on disk before a
            person reads of it.
        redact: takes secret values out of plain data.
    """

    def __init__(
        self, observers: Sequence[Observer], redact: Callable[[Any], Any] = lambda data: data
    ) -> None:
        self._observers = tuple(observers)
        self._redact = redact
        self._one_at_a_time = threading.Lock()

    def emit(self, kind: str, host: str = "", text: str = "", **data: Any) -> None:
        """Tell all observers."""
        event = Event(kind, host, self._redact(text), self._redact(data))
        with self._one_at_a_time:
            for observe in self._observers:
                observe(event)
