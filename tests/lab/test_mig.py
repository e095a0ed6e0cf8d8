"""mig-7x1g and mig-off on the lab: what a plan promises is what apply does, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab import api
from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program

pytestmark = pytest.mark.lab

SEVEN = "playbooks/mig-7x1g.yaml"
OFF = "playbooks/mig-off.yaml"
WITH_MIG = {"gpu-a1": 14, "gpu-a2": 7, "gpu-h1": 14}
"""Node -> instances after mig-7x1g."""


def instances(lab: LabUnderTest, node: str) -> int:
    return int(lab.host(node).check_output("nvidia-smi -L").count("MIG 1g."))


def shown(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(c["host"], c["task"], c["summary"].split(" (pod")[0]) for c in report["changes"]}


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {host["host"]: host["status"] for host in report["hosts"]}


def test_the_main_job(fresh: LabUnderTest, program: Program, cluster: Cluster) -> None:
    """Plan, apply, apply again, and back: one story, as it takes a while to set the scene."""
    lab = fresh
    before = {node: cluster.pods(node) for node in lab.nodes}

    code, plan = program.json("plan", SEVEN)
    assert code == 2
    assert statuses(plan) == dict.fromkeys(WITH_MIG, "pending") | {"gpu-t1": "denied"}
    assert {change["risk"] for change in plan["changes"]} == {"high", "medium"}
    assert {node: cluster.pods(node) for node in lab.nodes} == before
    assert not any(cluster.cordoned(node) or cluster.marks(node) for node in lab.nodes)
    assert not any(instances(lab, node) for node in lab.nodes)

    code, applied = program.json("apply", SEVEN, "--yes")
    assert code == 4, applied
    assert statuses(applied) == dict.fromkeys(WITH_MIG, "changed") | {"gpu-t1": "denied"}
    assert shown(applied) == shown(plan)
    refused = next(host for host in applied["hosts"] if host["host"] == "gpu-t1")
    assert "Tesla T4" in refused["reason"]
    for node, count in WITH_MIG.items():
        assert instances(lab, node) == count
        assert cluster.allocatable(node) == count
        assert not cluster.gpu_pods(node) or set(cluster.gpu_pods(node)).isdisjoint(before[node])
    assert not any(cluster.cordoned(node) or cluster.marks(node) for node in lab.nodes)
    assert before["gpu-t1"].items() <= cluster.pods("gpu-t1").items()

    pods = {node: cluster.pods(node) for node in lab.nodes}
    code, again = program.json("apply", SEVEN, "--yes")
    assert (code, again["changes"]) == (4, [])
    assert again["summary"]["ok"] == 3
    assert {node: cluster.pods(node) for node in lab.nodes} == pods

    code, off = program.json("apply", OFF, "--yes")
    assert statuses(off)["gpu-h1"] == "changed"
    for node, count in WITH_MIG.items():
        assert instances(lab, node) == 0
        assert cluster.allocatable(node) == count // 7
    assert not any(cluster.cordoned(node) or cluster.marks(node) for node in lab.nodes)


def test_without_approval_nothing_happens(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    done = program.on_lab("apply", SEVEN, "--limit", "gpu-h1")
    assert done.returncode == 4
    assert "not approved" in done.stdout
    assert instances(fresh, "gpu-h1") == 0
    assert not cluster.marks("gpu-h1")


def test_a_budget_that_never_allows_holds_that_node_and_only_that_node(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    held = next(node for node in WITH_MIG if cluster.gpu_pods(node))
    name = cluster.gpu_pods(held)[0]
    cluster.patch_pod(name, {"metadata": {"labels": {"guarded": "for-ever"}}})
    cluster.create(
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "for-ever", "namespace": "default"},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"guarded": "for-ever"}}},
        },
    )
    _, plan = program.json("plan", SEVEN)
    assert statuses(plan)[held] == "denied"
    code, applied = program.json("apply", SEVEN, "--yes")
    assert code == 4
    denied = next(host for host in applied["hosts"] if host["host"] == held)
    assert "for-ever" in denied["reason"]
    assert instances(fresh, held) == 0
    assert not cluster.cordoned(held) and not cluster.marks(held)
    others = [node for node in WITH_MIG if node != held]
    assert all(instances(fresh, node) == WITH_MIG[node] for node in others)


def test_a_node_that_somebody_else_cordoned_stays_cordoned(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    cluster.patch_node("gpu-h1", {"spec": {"unschedulable": True}})
    done = program.on_lab("apply", SEVEN, "--yes", "--limit", "gpu-h1")
    assert done.returncode == 0, done.stdout
    assert "was cordoned by somebody else before" in done.stdout
    assert instances(fresh, "gpu-h1") == 14
    assert cluster.cordoned("gpu-h1")
    assert not cluster.marks("gpu-h1")


def test_with_the_api_server_down_no_node_is_touched(fresh: LabUnderTest, program: Program) -> None:
    api.stop(fresh.lab)
    try:
        code, applied = program.json("apply", SEVEN, "--yes", "--limit", "gpu-h1")
    finally:
        fresh.reset()
    assert code == 1
    assert statuses(applied) == {"gpu-h1": "unknown"}
    assert "connection refused" in applied["hosts"][0]["reason"].lower()
    assert instances(fresh, "gpu-h1") == 0
