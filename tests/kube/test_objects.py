"""`kubernetes_object` in the lab's cluster: planned from a dry run, applied once, seen done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube.cluster import Cluster
from runner.kube.objects import not_rolled_out
from runner.kube.state import ApplyObject
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.seed import daemon_set
from runner.modules.base import Change, Context, Outcome, Refused
from runner.modules.kubernetes_object import KubernetesObject, KubernetesObjectArguments
from tests.kube.world import DEADLINE

NAME = "nvidia-device-plugin-config"
MODULE = KubernetesObject()


@pytest.fixture
def lab(quick: None) -> Iterator[LabCluster]:
    with LabCluster(nodes=["gpu1", "gpu2"]) as lab:
        yield lab


@pytest.fixture
def cluster(lab: LabCluster) -> Iterator[Cluster]:
    cluster = Cluster(lab.kubeconfig)
    yield cluster
    cluster.close()


def config(namespace: str = "kube-system", **data: str) -> dict[str, Any]:
    meta = {"name": NAME, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def daemon(image: str) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", **daemon_set("agent", image, {})}


def plan(cluster: Cluster, definition: dict[str, Any], **more: Any) -> Outcome:
    args = KubernetesObjectArguments(definition=definition, timeout=DEADLINE, **more)
    context = Context("gpu1")
    probes = MODULE.cluster_probes(args, context)
    return MODULE.plan(args, {p.key: cluster.look(p.query) for p in probes}, context)


def only(outcome: Outcome) -> Change:
    (change,) = outcome.changes
    return change


def do(cluster: Cluster, change: Change) -> list[str]:
    said: list[str] = []
    for action in change.do:
        cluster.perform(
            "gpu1",
            action,  # type: ignore[arg-type]
            since=datetime.now(UTC),
            progress=said.append,
            stop=threading.Event(),
        )
    return said


def test_created_and_then_as_wanted(lab: LabCluster, cluster: Cluster) -> None:
    change = only(plan(cluster, config(a="1\n")))
    assert change.summary == f"create ConfigMap kube-system/{NAME}"
    assert change.diff and change.diff.before is None
    assert lab.get("ConfigMap", NAME, "kube-system") is None, "a plan writes nothing"
    do(cluster, change)
    live = lab.get("ConfigMap", NAME, "kube-system")
    assert live and live["data"] == {"a": "1\n"}
    assert live["metadata"]["managedFields"][0]["manager"] == "gpurun"
    assert plan(cluster, config(a="1\n")) == Outcome()


def test_only_our_fields_change_and_those_given_no_more_go(
    lab: LabCluster, cluster: Cluster
) -> None:
    lab.create({**config(theirs="x"), "metadata": {"name": NAME, "namespace": "kube-system"}})
    do(cluster, only(plan(cluster, config(a="1", b="2"))))
    change = only(plan(cluster, config(a="3")))
    assert change.summary == f"apply ConfigMap kube-system/{NAME}"
    assert change.diff and change.diff.before and change.diff.after
    assert "managedFields" not in change.diff.before + change.diff.after
    assert "resourceVersion" not in change.diff.before + change.diff.after
    assert change.diff.before.startswith("apiVersion: v1\ndata:\n  a: '1'\n  b: '2'\n  theirs: x\n")
    assert change.diff.after.startswith("apiVersion: v1\ndata:\n  a: '3'\n  theirs: x\n")
    do(cluster, change)
    live = lab.get("ConfigMap", NAME, "kube-system")
    assert live and live["data"] == {"a": "3", "theirs": "x"}


def test_a_field_of_another_manager_is_a_conflict_that_names_it(
    lab: LabCluster, cluster: Cluster
) -> None:
    lab.create(config(a="theirs"))
    with pytest.raises(Refused, match="force: true, with because, takes the fields over") as caught:
        plan(cluster, config(a="ours"))
    assert "gpurun-lab" in str(caught.value) and ".data.a" in str(caught.value)
    do(cluster, only(plan(cluster, config(a="ours"), force=True, because="ours")))
    live = lab.get("ConfigMap", NAME, "kube-system")
    assert live and live["data"] == {"a": "ours"}


def test_the_second_host_finds_it_as_wanted(cluster: Cluster) -> None:
    first, second = only(plan(cluster, config(a="1"))), only(plan(cluster, config(a="1")))
    assert do(cluster, first) == [f"ConfigMap kube-system/{NAME} applied"]
    assert do(cluster, second) == [f"ConfigMap kube-system/{NAME} is as wanted already"]


def test_what_others_changed_since_the_plan_is_not_overwritten(
    lab: LabCluster, cluster: Cluster
) -> None:
    do(cluster, only(plan(cluster, config(a="1"))))
    change = only(plan(cluster, config(a="2")))
    lab.edit("ConfigMap", NAME, lambda item: {**item, "data": {"a": "x"}}, "kube-system")
    with pytest.raises(ClusterError, match="no longer as it was when this was planned"):
        do(cluster, change)


def test_a_missing_namespace_and_a_missing_kind(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="namespace nowhere does not exist: create it first"):
        plan(cluster, config("nowhere"))
    policy = {
        "apiVersion": "nvidia.com/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "cluster-policy"},
    }
    with pytest.raises(ClusterError, match=r"no kind ClusterPolicy in nvidia\.com/v1"):
        plan(cluster, policy)
    with pytest.raises(ClusterError, match=r"a ConfigMap needs a metadata\.namespace"):
        plan(cluster, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})


def test_a_rollout_is_waited_for(lab: LabCluster, cluster: Cluster) -> None:
    do(cluster, only(plan(cluster, daemon("registry.example/agent:1"))))
    lab.settle()
    change = only(plan(cluster, daemon("registry.example/agent:2")))
    do(cluster, change)
    live = lab.get("DaemonSet", "agent", "kube-system")
    assert live and live["status"]["updatedNumberScheduled"] == 2
    images = [
        pod["spec"]["containers"][0]["image"]
        for pod in lab.list("Pod", "kube-system")
        if pod["metadata"]["name"].startswith("agent-")
    ]
    assert images == ["registry.example/agent:2"] * 2
    assert plan(cluster, daemon("registry.example/agent:2")) == Outcome()


def test_deleted_and_then_as_wanted(lab: LabCluster, cluster: Cluster) -> None:
    do(cluster, only(plan(cluster, config(a="1"))))
    change = only(plan(cluster, config(), state="absent"))
    assert change.diff and change.diff.after is None
    do(cluster, change)
    assert lab.get("ConfigMap", NAME, "kube-system") is None
    assert plan(cluster, config(), state="absent") == Outcome()


def test_a_change_that_does_not_last_is_no_success(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = only(plan(cluster, config(a="1")))
    monkeypatch.setattr("runner.kube.objects._apply", lambda *args, **more: {"metadata": {}})
    (action,) = change.do
    assert isinstance(action, ApplyObject)
    with pytest.raises(ClusterError, match="was applied but is not as wanted"):
        do(cluster, change)


def workload(kind: str, spec: dict[str, Any], **status: int) -> dict[str, Any]:
    meta = {"generation": 2}
    return {
        "kind": kind,
        "metadata": meta,
        "spec": spec,
        "status": {"observedGeneration": 2, **status},
    }


@pytest.mark.parametrize(
    ("item", "lacks"),
    [
        (workload("DaemonSet", {}, observedGeneration=1), "controller has not seen"),
        (
            workload("DaemonSet", {}, desiredNumberScheduled=3, updatedNumberScheduled=1),
            "1 of 3 pods updated",
        ),
        (
            workload(
                "DaemonSet",
                {},
                desiredNumberScheduled=3,
                updatedNumberScheduled=3,
                numberAvailable=2,
            ),
            "2 of 3 updated pods available",
        ),
        (workload("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}), ""),
        (workload("DaemonSet", {}, desiredNumberScheduled=0), ""),
        (workload("Deployment", {"replicas": 2}, updatedReplicas=1), "1 of 2 pods updated"),
        (
            workload("Deployment", {"replicas": 2}, updatedReplicas=2, replicas=3),
            "1 old pods are still there",
        ),
        (
            workload(
                "Deployment", {"replicas": 2}, updatedReplicas=2, replicas=2, availableReplicas=2
            ),
            "",
        ),
    ],
)
def test_when_a_rollout_is_complete(item: dict[str, Any], lacks: str) -> None:
    said = not_rolled_out(item)
    assert lacks in said and bool(lacks) == bool(said)
