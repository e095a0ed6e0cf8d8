"""How a run is to be carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run. Times in seconds.

    Args:
        forks: hosts worked on at once.
        rollout_lock: whether only one run at a time takes nodes of a cluster out of service.
        predecessor: the run that this one brings back or takes nodes over from; "": none.
        heirs: hosts whose nodes it takes over, where that run still holds them.
    """

    run: str
    limit: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    kubeconfig: Path | None = None
    context: str | None = None
    forks: int = 32
    connect_timeout: float = 10.0
    lock_timeout: float = 0.0
    rollout_lock: bool = True
    become_password: str | None = field(default=None, repr=False)
    resumed: bool = False
    predecessor: str = ""
    heirs: frozenset[str] = frozenset()

    def heir_of(self, host: str) -> str:
        """The run from which this one may take the host's node over; "": none."""
        return self.predecessor if host in self.heirs else ""
