"""Faults of the API server that tests ask for: error answers, hanging, dropped connections."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

FaultKind = Literal["status", "hang", "drop", "lose"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with matching requests.

    Args:
        kind: "status": answer with `code`; "hang": no answer until the faults are cleared or the
            server ends; "drop": the connection breaks before anything is done; "lose": the request
            is carried out, then the connection breaks before the answer.
        code: HTTP status of a "status" fault.
        message: its message.
        headers: its additional headers (`Retry-After`).
        method: only requests with this HTTP method; "" any.
        path: only requests whose path this regular expression is found in.
        count: how many requests it meets; None: all until cleared.
    """

    kind: FaultKind = "status"
    code: int = 500
    message: str = "injected fault"
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    path: str = ""
    count: int | None = 1

    def meets(self, method: str, path: str) -> bool:
        return self.method in ("", method) and re.search(self.path, path) is not None


class Faults:
    """The faults that are still to come, taken in the order they were added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self._cleared = threading.Event()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        """Forget all faults and let hanging requests go (their connections break)."""
        with self._lock:
            self._waiting.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault this request meets, used up by one."""
        with self._lock:
            for index, fault in enumerate(self._waiting):
                if fault.meets(method, path):
                    self._use(index, fault)
                    return fault
        return None

    def _use(self, index: int, fault: Fault) -> None:
        if fault.count is None:
            return
        if fault.count > 1:
            self._waiting[index] = replace(fault, count=fault.count - 1)
        else:
            del self._waiting[index]

    def hang(self) -> None:
        """Wait until the faults are cleared."""
        with self._lock:
            cleared = self._cleared
        cleared.wait()
