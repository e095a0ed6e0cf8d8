"""`kubernetes_object`: planned from a dry run, applied once, seen done."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube.objects import not_rolled_out
from runner.kube.state import ApplyObject
from runner.modules.base import Change, Context, Outcome, Refused
from runner.modules.kubernetes_object import KubernetesObject, KubernetesObjectArguments
from tests.kube.names import NODE, NS, node_name
from tests.kube.world import DEADLINE, MINE, World

NAME = "nvidia-device-plugin-config"
NOWHERE = node_name("nowhere")
MODULE = KubernetesObject()


@pytest.fixture(autouse=True)
def _removed(world: World) -> None:
    world.removes("ConfigMap", NAME)
    world.removes("DaemonSet", "agent")


def config(namespace: str = NS, **data: str) -> dict[str, Any]:
    meta = {"name": NAME, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def daemon(image: str) -> dict[str, Any]:
    labels = {"daemon": "agent"}
    container = {"name": "agent", "image": image}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "nodeSelector": MINE},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": NS},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def plan(world: World, definition: dict[str, Any], **more: Any) -> Outcome:
    args = KubernetesObjectArguments(definition=definition, timeout=DEADLINE, **more)
    context = Context(NODE)
    probes = MODULE.cluster_probes(args, context)
    return MODULE.plan(args, {p.key: world.cluster.look(p.query) for p in probes}, context)


def only(outcome: Outcome) -> Change:
    (change,) = outcome.changes
    return change


def do(world: World, change: Change) -> list[str]:
    said: list[str] = []
    for action in change.do:
        world.cluster.perform(
            NODE,
            action,  # type: ignore[arg-type]
            since=datetime.now(UTC),
            progress=said.append,
            stop=threading.Event(),
        )
    return said


def test_created_and_then_as_wanted(world: World) -> None:
    change = only(plan(world, config(a="1\n")))
    assert change.summary == f"create ConfigMap {NS}/{NAME}"
    assert change.diff and change.diff.before is None
    assert not world.has("ConfigMap", NAME), "a plan writes nothing"
    do(world, change)
    live = world.get("ConfigMap", NAME)
    assert live["data"] == {"a": "1\n"}
    assert live["metadata"]["managedFields"][0]["manager"] == "gpurun"
    assert plan(world, config(a="1\n")) == Outcome()


def test_only_our_fields_change_and_those_given_no_more_go(world: World) -> None:
    world.create("ConfigMap", config(theirs="x"))
    do(world, only(plan(world, config(a="1", b="2"))))
    change = only(plan(world, config(a="3")))
    assert change.summary == f"apply ConfigMap {NS}/{NAME}"
    assert change.diff and change.diff.before and change.diff.after
    assert "managedFields" not in change.diff.before + change.diff.after
    assert "resourceVersion" not in change.diff.before + change.diff.after
    assert change.diff.before.startswith("apiVersion: v1\ndata:\n  a: '1'\n  b: '2'\n  theirs: x\n")
    assert change.diff.after.startswith("apiVersion: v1\ndata:\n  a: '3'\n  theirs: x\n")
    do(world, change)
    live = world.get("ConfigMap", NAME)
    assert live["data"] == {"a": "3", "theirs": "x"}


def test_a_field_of_another_manager_is_a_conflict_that_names_it(world: World) -> None:
    world.create("ConfigMap", config(a="theirs"))
    with pytest.raises(Refused, match="force: true, with because, takes the fields over") as caught:
        plan(world, config(a="ours"))
    assert "somebody" in str(caught.value) and ".data.a" in str(caught.value)
    do(world, only(plan(world, config(a="ours"), force=True, because="ours")))
    live = world.get("ConfigMap", NAME)
    assert live["data"] == {"a": "ours"}


def test_the_second_host_finds_it_as_wanted(world: World) -> None:
    first, second = only(plan(world, config(a="1"))), only(plan(world, config(a="1")))
    assert do(world, first) == [f"ConfigMap {NS}/{NAME} applied"]
    assert do(world, second) == [f"ConfigMap {NS}/{NAME} is as wanted already"]


def test_what_others_changed_since_the_plan_is_not_overwritten(world: World) -> None:
    do(world, only(plan(world, config(a="1"))))
    change = only(plan(world, config(a="2")))
    world.change("ConfigMap", NAME, data={"a": "x"})
    with pytest.raises(ClusterError, match=r'conflict with "somebody".*\.data\.a'):
        do(world, change)
    assert world.get("ConfigMap", NAME)["data"] == {"a": "x"}


def test_nor_is_it_where_the_fields_are_taken_over(world: World) -> None:
    world.create("ConfigMap", config(a="1"))
    change = only(plan(world, config(a="2"), force=True, because="ours"))
    world.change("ConfigMap", NAME, data={"a": "x"})
    with pytest.raises(ClusterError, match="no longer as it was when this was planned"):
        do(world, change)
    assert world.get("ConfigMap", NAME)["data"] == {"a": "x"}


def test_a_missing_namespace_and_a_missing_kind(world: World) -> None:
    with pytest.raises(Refused, match=f"namespace {NOWHERE} does not exist: create it first"):
        plan(world, config(NOWHERE))
    policy = {
        "apiVersion": "nvidia.com/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "cluster-policy"},
    }
    with pytest.raises(ClusterError, match=r"no kind ClusterPolicy in nvidia\.com/v1"):
        plan(world, policy)
    with pytest.raises(ClusterError, match=r"a ConfigMap needs a metadata\.namespace"):
        plan(world, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})


def test_a_rollout_is_waited_for(world: World) -> None:
    world.node()
    world.node(2)
    world.kubelet()
    do(world, only(plan(world, daemon("registry.invalid/agent:1"))))
    change = only(plan(world, daemon("registry.invalid/agent:2")))
    do(world, change)
    assert world.get("DaemonSet", "agent")["status"]["updatedNumberScheduled"] == 2
    images = [
        pod["spec"]["containers"][0]["image"]
        for pod in world.found("Pod", labels="daemon=agent")
        if "deletionTimestamp" not in pod["metadata"]
    ]
    assert images == ["registry.invalid/agent:2"] * 2
    assert plan(world, daemon("registry.invalid/agent:2")) == Outcome()


def test_deleted_and_then_as_wanted(world: World) -> None:
    do(world, only(plan(world, config(a="1"))))
    change = only(plan(world, config(), state="absent"))
    assert change.diff and change.diff.after is None
    do(world, change)
    assert not world.has("ConfigMap", NAME)
    assert plan(world, config(), state="absent") == Outcome()


def test_a_change_that_does_not_last_is_no_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = only(plan(world, config(a="1")))
    monkeypatch.setattr("runner.kube.objects._apply", lambda *args, **more: {"metadata": {}})
    (action,) = change.do
    assert isinstance(action, ApplyObject)
    with pytest.raises(ClusterError, match="was applied but is not as wanted"):
        do(world, change)


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
