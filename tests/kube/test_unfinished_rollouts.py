"""A rollout that is not over is not taken for done, and whoever waits for it says so."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import waiting
from runner.kube.state import ObjectState, WaitRollout
from runner.kube.waiting import wait_until
from runner.modules.base import Context, Outcome
from runner.modules.kubernetes_object import KubernetesObject, KubernetesObjectArguments
from tests.kube.names import NS

META = {"name": "app", "namespace": NS, "generation": 2}
MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "app", "namespace": NS},
    "spec": {"replicas": 2},
}


def live(updated: int) -> Mapping[str, Any]:
    status = {"observedGeneration": 2, "updatedReplicas": updated, "replicas": 2}
    return {**MANIFEST, "metadata": META, "status": {**status, "availableReplicas": 2}}


def planned(state: ObjectState, **more: Any) -> Outcome:
    args = KubernetesObjectArguments(definition=MANIFEST, **more)
    context = Context("host")
    (probe,) = KubernetesObject().cluster_probes(args, context)
    outcome = KubernetesObject().plan(args, {probe.key: state}, context)
    for change in outcome.changes:
        assert not KubernetesObject().plan(args, change.overlay, context).changes
    return outcome


def test_an_object_as_wanted_whose_rollout_is_not_over_is_waited_for() -> None:
    (change,) = planned(ObjectState(live(1), live(1))).changes
    assert change.summary == f"wait for the rollout of Deployment {NS}/app: 1 of 2 pods updated"
    assert [type(action) for action in change.do] == [WaitRollout]


def test_nothing_is_to_be_done_where_it_is_over_or_nobody_asked() -> None:
    assert planned(ObjectState(live(2), live(2))) == Outcome()
    assert planned(ObjectState(live(1), live(1)), wait_rollout=False) == Outcome()


def test_what_is_waited_for_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "REMIND", 0.0)
    monkeypatch.setattr(waiting, "POLL", 0.01)
    said: list[str] = []
    with pytest.raises(ClusterError, match="look at it"):
        wait_until(
            lambda: "1 of 2",
            doing="waiting for pods",
            timeout=0.1,
            progress=said.append,
            stop=threading.Event(),
            advice="look at it",
        )
    assert said[:2] == ["waiting for pods: 1 of 2", "waiting for pods, for 0 s of 0 s: 1 of 2"]
