"""The request to stop a run."""

from __future__ import annotations

import threading


class Stop(threading.Event):
    """Set when the run shall end after the current step of every host.

    `gentle` is true while hosts are being changed: only then is there something to finish.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gentle = False
