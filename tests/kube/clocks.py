"""Clocks that do not let tests wait."""

from __future__ import annotations

import pytest

from runner.kube import actions, api, drain, eviction, lock, waiting


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that is waited for be looked at every few milliseconds."""
    monkeypatch.setattr(waiting, "POLL", 0.01)
    monkeypatch.setattr(drain, "POLL", 0.01)
    monkeypatch.setattr(drain, "FIRST_POLL", 0.01)
    monkeypatch.setattr(eviction, "RETRY", 0.02)
    monkeypatch.setattr(actions, "APART", 0.1)
    monkeypatch.setattr(lock, "LOOK", 0.01)
    monkeypatch.setattr(api, "RETRY_DELAYS", (0.01, 0.01, 0.01))
