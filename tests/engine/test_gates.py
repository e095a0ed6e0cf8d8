"""Gates: what lets a host's plan through, asks, or denies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runner.engine.gates import drain_mode, gate, lock_reason
from runner.engine.planning import HostPlan, PlannedStep, StepKey
from runner.errors import Origin
from runner.inventory.model import Host
from runner.kube.leases import NodeLease
from runner.kube.maintenance import RUN
from runner.kube.preview import DrainPreview
from runner.kube.state import DrainOptions, NodeState
from runner.modules.base import Change, Disruption, Risk, Unknown
from runner.playbook.document import Map, Play, Task

ORIGIN = Origin("playbook.yaml", 1, 1)
HOST = Host("gpu-1", "192.0.2.1", ORIGIN)
PLAY = Play("play", "all", ORIGIN)
TASK = Task("task", "copy", Map(), ORIGIN)
NODE = NodeState("gpu-1")


def plan(risk: Risk = Risk.LOW, disruption: Disruption = Disruption.NONE) -> HostPlan:
    change = Change("change", (), risk=risk, disruption=disruption)
    step = PlannedStep(
        StepKey("tasks", 0), TASK, "task", "change", (change,), risk=risk, disruption=disruption
    )
    return HostPlan(HOST, PLAY, (step,))


NOTHING = HostPlan(HOST, PLAY, ())


def test_nothing_to_do_is_allowed_whatever_the_cluster_says() -> None:
    assert gate(NOTHING, Unknown("down"), None, "run").verdict == "allow"


@pytest.mark.parametrize(
    ("risk", "verdict"), [(Risk.LOW, "allow"), (Risk.MEDIUM, "ask"), (Risk.HIGH, "ask")]
)
def test_medium_and_high_risk_ask(risk: Risk, verdict: str) -> None:
    assert gate(plan(risk), NODE, None, "run").verdict == verdict


def test_a_cluster_that_cannot_be_read_denies() -> None:
    answer = gate(plan(), Unknown("connection refused"), None, "run")
    assert answer.verdict == "deny"
    assert "connection refused" in answer.reasons[0]


def test_pods_must_go_but_there_is_no_cluster() -> None:
    answer = gate(plan(Risk.HIGH, Disruption.GPU), None, None, "run")
    assert answer.verdict == "deny"
    assert "kubeconfig" in answer.reasons[0]


def test_without_a_cluster_harmless_changes_are_allowed() -> None:
    assert gate(plan(), None, None, "run").verdict == "allow"


def test_a_node_of_an_unfinished_run_is_not_taken() -> None:
    node = replace(NODE, annotations={RUN: "other"})
    answer = gate(plan(), node, None, "run")
    assert answer.verdict == "deny"
    assert "gpurun resume other" in answer.reasons[0]
    assert gate(plan(), node, None, "other").verdict == "allow"


def test_a_drain_that_can_never_succeed_denies_with_the_reason() -> None:
    preview = DrainPreview(blocked=("budget default/always",))
    answer = gate(plan(Risk.HIGH, Disruption.GPU), NODE, preview, "run")
    assert answer.verdict == "deny"
    assert "default/always" in answer.reasons[0]


def test_a_drain_that_cannot_be_previewed_denies() -> None:
    answer = gate(plan(Risk.HIGH, Disruption.GPU), NODE, Unknown("forbidden"), "run")
    assert answer.verdict == "deny"


@pytest.mark.parametrize(
    ("disruption", "mode"),
    [
        (Disruption.NONE, "none"),
        (Disruption.SERVICE, "none"),
        (Disruption.GPU, "gpu"),
        (Disruption.NODE, "full"),
        (Disruption.REBOOT, "full"),
    ],
)
def test_the_drain_follows_the_largest_disruption(disruption: Disruption, mode: str) -> None:
    assert drain_mode(plan(Risk.HIGH, disruption)) == mode


def test_a_play_may_name_the_drain() -> None:
    host_plan = plan(Risk.HIGH, Disruption.GPU)
    play = replace(PLAY, drain=DrainOptions(mode="full"))
    assert drain_mode(replace(host_plan, play=play)) == "full"


def test_deleting_past_budgets_is_of_high_risk_and_says_so() -> None:
    play = replace(PLAY, drain=DrainOptions(disable_eviction=True))
    answer = gate(replace(plan(Risk.LOW, Disruption.GPU), play=play), NODE, None, "run")
    assert answer.verdict == "ask"
    assert answer.reasons == (
        "risk high: disable_eviction deletes pods past their disruption budgets",
    )
    harmless = replace(plan(Risk.LOW, Disruption.SERVICE), play=play)
    assert gate(harmless, NODE, None, "run").verdict == "allow"


def test_the_option_that_would_allow_it_is_named() -> None:
    said = "cannot delete Pods that declare no controller (use --force to override): default/a"
    (reason,) = gate(
        plan(Risk.HIGH, Disruption.GPU), NODE, DrainPreview(blocked=(said,)), "run"
    ).reasons
    assert reason == f"cannot be drained: {said} (drain: {{force: true}} allows it)"


NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELD = NodeLease("gpurun-gpu-1", "you@there pid 7", "other", renewed=NOW)


@pytest.mark.parametrize(
    ("lease", "run", "later", "patience", "reason"),
    [
        (None, "run", 0, 0, ""),
        (NodeLease("gpurun-gpu-1"), "run", 0, 0, ""),
        (HELD, "run", 0, 0, "locked by you@there pid 7 (run other)"),
        (HELD, "other", 0, 0, ""),
        (HELD, "run", 3600, 0, ""),
        (HELD, "run", 0, 600, ""),
        (replace(HELD, renewed=None), "run", 3600, 0, "locked by"),
        (Unknown("forbidden"), "run", 0, 0, "not known: forbidden"),
    ],
)
def test_a_lock_that_another_run_holds_closes_the_gate(
    lease: NodeLease | Unknown | None, run: str, later: int, patience: float, reason: str
) -> None:
    said = lock_reason(lease, run, NOW + timedelta(seconds=later), patience)
    assert reason in said if reason else said == ""
    assert gate(plan(), NODE, None, run, said).verdict == ("deny" if reason else "allow")


def test_a_rollback_may_take_the_lock_of_the_run_it_brings_back() -> None:
    assert lock_reason(HELD, "run", NOW, 0, heir_of="other") == ""
    assert lock_reason(HELD, "run", NOW, 0, heir_of="third")


def test_a_rollback_may_work_on_the_nodes_of_the_run_it_brings_back() -> None:
    node = NodeState("gpu-1", annotations={RUN: "broken"})
    assert gate(plan(), node, None, "run", heir_of="broken").verdict == "allow"
    assert gate(plan(), node, None, "run", heir_of="other").verdict == "deny"
