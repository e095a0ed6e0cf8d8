"""Waiting for the cluster: bounded, interruptible, patient with a short silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from runner.errors import ClusterError
from runner.kube.api import RefusalError, SilenceError

POLL = 1.0
"""Seconds between two looks, as kubectl drain has it."""
REMIND = 30.0
"""Seconds between two reminders of what is waited for."""
PATIENCE = 60.0
"""Seconds the API server may be silent in mid-wait (a control plane being upgraded)."""

Progress = Callable[[str], None]


class StoppedError(ClusterError):
    """The stop event was set; what was asked for is not done."""


def passes(error: ClusterError) -> bool:
    """Whether it may be over soon: no answer came, or the credentials have run out and somebody
    may log in anew (the kubeconfig is read again for each request that is refused so)."""
    return isinstance(error, SilenceError) or is_logged_out(error)


def is_logged_out(error: ClusterError) -> bool:
    """The API server does not accept the credentials (any more)."""
    return isinstance(error, RefusalError) and error.code == 401


class Patience:
    """Turns what passes within a minute into waiting; anything else is raised."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._silent_since: float | None = None

    def heard(self) -> None:
        """An answer came."""
        self._silent_since = None

    def bear(self, error: ClusterError) -> None:
        """No use could be made of the answer: raises that once it has lasted too long."""
        if not passes(error):
            raise error
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            if is_logged_out(error):
                what = f"waiting {PATIENCE:.0f} s for a new login, {error.hint}"
            else:
                what = "the API server does not answer, waiting"
            self._progress(f"{what}: {error.message}")
        if now - self._silent_since > PATIENCE:
            raise error


def wait_until(
    missing: Callable[[], str],
    *,
    doing: str,
    timeout: float,
    progress: Progress,
    stop: threading.Event,
    advice: str = "",
) -> None:
    """Look every second until nothing is missing; tell what is whenever that changes, and again
    every half minute.

    Args:
        missing: looks once; "" when all is well, else what is still missing, in words.
        doing: what is waited for, for messages.
        timeout: seconds.
        advice: what a person should do when time is over.

    Raises:
        ClusterError: time is over (with what was missing last), or the API failed for too long.
        StoppedError: `stop` was set.
    """
    began = reminded = time.monotonic()
    patience = Patience(progress)
    told = ""
    lacking = "no answer yet"
    while True:
        try:
            lacking = missing()
            patience.heard()
            if not lacking:
                return
        except ClusterError as error:
            patience.bear(error)
        now = time.monotonic()
        if lacking != told:
            progress(f"{doing}: {lacking}")
            told, reminded = lacking, now
        elif now - reminded > REMIND:
            progress(f"{doing}, for {now - began:.0f} s of {timeout:.0f} s: {lacking}")
            reminded = now
        left = began + timeout - now
        if left <= 0:
            raise ClusterError(f"{doing}: not after {timeout:.0f} s: {lacking}", advice)
        if stop.wait(min(POLL, left)):
            raise StoppedError(f"{doing}: stopped: {lacking}")
