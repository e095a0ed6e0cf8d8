"""What a person reads of a drain in a plan: which pods go, whose they are, what is in the way."""

from __future__ import annotations

import pytest

from tests.reports.test_terminal import change, plan, printed

DRAIN = {
    "evict": ["a/web-1-x", "a/job-y", "b/web-1-x", "a/web-1-z", "b/bare"],
    "owners": {
        "a/web-1-x": "ReplicaSet web-1",
        "a/job-y": "Job job",
        "b/web-1-x": "ReplicaSet web-1",
        "a/web-1-z": "ReplicaSet web-1",
    },
    "grace_seconds": 30.0,
    "blocked": ["cannot delete Pods with local storage: a/cache"],
}


def test_pods_stand_with_their_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(monkeypatch, {"gpu-1": plan([change()], drain=DRAIN)})
    assert (
        """\
    drain: evicts 5 pods (grace periods up to 30 s)
      ReplicaSet a/web-1: web-1-x, web-1-z
      Job a/job: job-y
      ReplicaSet b/web-1: web-1-x
      no owner: b/bare
    drain: cannot delete Pods with local storage: a/cache
"""
        in text
    )


def test_what_denies_the_host_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "cannot be drained: cannot delete Pods with local storage: a/cache (... allows it)"
    denied = plan([change()], drain=DRAIN, status="denied", reasons=[reason])
    text = printed(monkeypatch, {"gpu-1": denied})
    assert text.count("local storage") == 1
