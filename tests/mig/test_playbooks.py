"""The playbooks `mig-7x1g` and `mig-off`, planned by the engine on simulated nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.engine.observe import observe
from runner.engine.planner import plan_host, plan_verify
from runner.engine.planning import HostPlan
from runner.engine.subject import Subject
from runner.errors import Origin
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.inventory.model import Host
from runner.kube.state import NodeState, PodState, WaitAllocatable
from runner.lab.gpu.state import changing
from runner.modules.base import Disruption, Risk
from runner.playbook.load import load_playbook
from tests.mig.simulated import SimulatedHost

PLAYBOOKS = Path(__file__).parent.parent.parent / "playbooks"
PLUGIN = "nvidia-device-plugin-daemonset"


class Node:
    """A simulated host behind the engine's interface."""

    def __init__(self, folder: Path, model: str, count: int = 2) -> None:
        self.host = SimulatedHost(folder, model, count)

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        return {command.key: self.host.sh(command.shell) for command in commands}

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        raise AssertionError("a plan changes nothing")

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        raise AssertionError("a plan changes nothing")

    def plan(self, playbook: str, verify: bool = False) -> HostPlan:
        path = PLAYBOOKS / playbook
        (play,) = load_playbook(path).plays
        subject = Subject(Host("gpu-1", "192.0.2.1", Origin("hosts.yaml")), play, path)
        walk = plan_verify if verify else plan_host
        pod = PodState("kube-system", "plugin-x", "1", "Running", "DaemonSet", PLUGIN, ready=True)
        state = NodeState("gpu-1", allocatable={"nvidia.com/gpu": "2"}, pods=(pod,))
        observed: dict[str, Any] = {}
        return observe(lambda seen: walk(subject, seen), observed, self, lambda: state)

    def enact(self, plan: HostPlan) -> None:
        for step in plan.steps:
            for change in step.changes:
                if step.task.module == "mig":
                    assert self.host.enact(change) is None


def statuses(plan: HostPlan) -> list[tuple[str, str]]:
    return [(step.task.module, step.status) for step in plan.steps]


@pytest.mark.parametrize("model", ["A100-40", "A100-80", "H100-80", "H200-141"])
def test_seven_each_then_nothing_then_whole_again(model: str, tmp_path: Path) -> None:
    node = Node(tmp_path, model)
    plan = node.plan("mig-7x1g.yaml")
    assert plan.problem is None
    assert (plan.risk, plan.disruption) == (Risk.HIGH, Disruption.GPU)
    assert [step.task.module for step in plan.pending][:1] == ["mig"]
    node.enact(plan)
    assert ("mig", "ok") in statuses(node.plan("mig-7x1g.yaml"))
    (wait,) = node.plan("mig-7x1g.yaml", verify=True).steps[-1].waits
    assert isinstance(wait, WaitAllocatable)
    assert (wait.resource, wait.value) == ("nvidia.com/gpu", 14)
    node.enact(node.plan("mig-off.yaml"))
    assert ("mig", "ok") in statuses(node.plan("mig-off.yaml"))


def test_a_t4_is_refused_before_anything_is_planned(tmp_path: Path) -> None:
    plan = Node(tmp_path, "T4").plan("mig-7x1g.yaml")
    assert plan.problem is not None
    assert plan.problem.key.section == "preconditions"
    assert plan.problem.reason.startswith("no MIG on Tesla T4: MIG needs an A100")


def test_a_t4_has_mig_off(tmp_path: Path) -> None:
    plan = Node(tmp_path, "T4").plan("mig-off.yaml")
    assert (plan.problem, plan.pending) == (None, ())


@pytest.mark.parametrize("playbook", ["mig-7x1g.yaml", "mig-off.yaml"])
def test_a_driver_that_is_not_loaded_is_the_reason(playbook: str, tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    with changing(node.host.root) as state:
        state["modules"] = {}
    problem = node.plan(playbook).problem
    assert problem is not None
    assert "the NVIDIA driver is not loaded" in problem.reason
