"""Trying again: `until`, `retries`, `delay`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from runner.engine.ending import Interrupted, StepFailed
from runner.engine.no_log import HIDDEN
from runner.engine.planning import PlannedStep, StepKey, seen_as
from runner.engine.results import most_tries, pause_after


class Tries:
    """How often the steps of one host were tried, and the waits between.

    Args:
        progress: told before each wait, so that nobody wonders what takes so long.
        stop: ends a wait at once.
    """

    def __init__(self, progress: Callable[[str], None], stop: threading.Event) -> None:
        self.counts: dict[StepKey, int] = {}
        self._progress = progress
        self._stop = stop

    def told(self, step: PlannedStep) -> dict[str, Any]:
        """What `register` stores of it."""
        return {"attempts": self.counts.get(step.key, 1)} if most_tries(step.task) > 1 else {}

    def again(self, step: PlannedStep, error: StepFailed) -> bool:
        """Whether a step that failed is tried again; waits before it says so."""
        if error.step is None or self.counts.get(step.key, 1) >= most_tries(step.task):
            return False
        self.wait(step, error.message)
        return True

    def wait(self, step: PlannedStep, reason: str = "") -> None:
        """Count a try of the step and wait until the next is due.

        Args:
            reason: why the last one was not enough; default: what the step was waiting for.

        Raises:
            Interrupted: the run was asked to stop.
        """
        tries = self.counts.get(step.key, 1)
        seconds = pause_after(step.task, tries)
        until = " and ".join(step.task.until)
        reason = reason or str(step.result.get("msg") or f"{until} does not hold yet")
        reason = HIDDEN if step.task.no_log else reason
        of = f"try {tries} of {most_tries(step.task)}"
        self._progress(f"{step.label}: {of}: {reason}; again in {seconds:g} s")
        if self._stop.wait(seconds):
            raise Interrupted(f"stopped while '{step.label}' was waiting for its next try")
        self.counts[step.key] = tries + 1


def forget(observed: dict[str, Any], step: PlannedStep) -> None:
    """Let what a step looks at be read again."""
    keys = {seen_as(probe.key, step.delegate) for probe in step.probes}
    for key in [key for key in observed if key in keys or key.startswith("kubernetes:")]:
        del observed[key]
