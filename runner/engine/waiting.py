"""Waiting for something on a host: bounded, and ended by a stop."""

from __future__ import annotations

import threading
import time

from runner.engine.observe import Hosts
from runner.errors import GpurunError
from runner.modules.base import NOT_YET, HostWait


def wait_on_host(wait: HostWait, connection: Hosts, stop: threading.Event) -> None:
    """Returns once it is so.

    Raises:
        GpurunError: time is over, the look itself failed, or `stop` was set meanwhile.
    """
    if wait.delay and stop.wait(wait.delay):
        raise GpurunError(f"stopped while it {wait}")
    if wait.look is None:
        return
    end = time.monotonic() + wait.timeout
    while True:
        result = connection.look([wait.look])[wait.look.key]
        if result.rc == 0:
            return
        if result.rc != NOT_YET:
            why = "it did not answer in time" if result.timed_out else result.error_text
            raise GpurunError(f"cannot look whether {wait.until}: {why or f'exit {result.rc}'}")
        if time.monotonic() >= end:
            why = f"not so after {wait.timeout:g} s: {wait.until}"
            raise GpurunError(why, wait.advice)
        if stop.is_set():
            raise GpurunError(f"stopped while it {wait}")
