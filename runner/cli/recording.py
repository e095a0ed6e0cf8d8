"""The journal while a run works: what happens when it cannot be written any more."""

from __future__ import annotations

from collections.abc import Callable

from runner.engine.events import Event
from runner.engine.stop import Stop
from runner.errors import GpurunError


class Recording:
    """Writes events into the journal. When that fails, the run is stopped gently: no step begins
    that is not on record, and every host still ends as after Ctrl-C.

    Args:
        write: writes one event; raises GpurunError.
        stop: is set at the first failure.
        say: told the failure, once.
    """

    def __init__(
        self, write: Callable[[Event], None], stop: Stop, say: Callable[[str], None]
    ) -> None:
        self._write = write
        self._stop = stop
        self._say = say
        self.failed = False

    def __call__(self, event: Event) -> None:
        """Record an event.

        Raises:
            GpurunError: a step is about to begin and cannot be recorded.
        """
        if not self.failed:
            try:
                self._write(event)
            except GpurunError as error:
                self.failed = True
                self._stop.set()
                self._say(f"{error}\nNothing more is begun.")
        if self.failed and event.kind == "step-started":
            raise GpurunError(f"'{event.text}' was not begun: the journal cannot be written")
