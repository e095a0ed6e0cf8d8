"""Long steps are reported while they run."""

from __future__ import annotations

import threading

import pytest

from runner.engine import reminding


def test_what_runs_long_is_told_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reminding, "EVERY", 0.001)
    told: list[str] = []
    enough = threading.Event()

    def say(text: str) -> None:
        told.append(text)
        if len(told) == 2:
            enough.set()

    with reminding.reminded(say, "The driver's packages", 1800.0):
        assert enough.wait(60)
    assert told[0] == "The driver's packages: running for 0 s, may take 1800 s"
    assert not [t for t in threading.enumerate() if "remind" in t.name], (
        "nothing is said afterwards"
    )


def test_of_what_is_short_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reminding, "EVERY", 0.0)
    before = threading.active_count()
    with reminding.reminded(lambda text: pytest.fail(text), "A file", 30.0):
        assert threading.active_count() == before
