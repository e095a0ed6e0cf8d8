"""A journal that cannot be written any more ends a run gently."""

from __future__ import annotations

import pytest

from runner.cli.recording import Recording
from runner.engine.events import Event
from runner.engine.stop import Stop
from runner.errors import GpurunError


def test_nothing_begins_unrecorded_and_what_was_begun_can_end() -> None:
    said: list[str] = []
    stop = Stop()
    full = False

    def write(event: Event) -> None:
        if full:
            raise GpurunError("the journal cannot be used: disk is full")

    recording = Recording(write, stop, said.append)
    recording(Event("step-started", "gpu-1", "first"))
    assert not stop.is_set()

    full = True
    recording(Event("step-done", "gpu-1", "first"))
    assert stop.is_set()
    with pytest.raises(GpurunError, match="'second' was not begun"):
        recording(Event("step-started", "gpu-1", "second"))
    recording(Event("progress", "gpu-1", "node gpu-1 uncordoned"))
    assert len(said) == 1
    assert "disk is full" in said[0]
