"""The playbooks of MIG, planned by the engine on simulated nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.engine.observe import observe
from runner.engine.planner import plan_host, plan_verify
from runner.engine.planning import HostPlan
from runner.engine.subject import Subject
from runner.errors import Origin
from runner.facts.gpu_models import FAMILIES
from runner.facts.nvidia import Gpu
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.inventory.model import Host
from runner.kube.state import ClusterQuery, NodeState, ObjectState, PodState, WaitAllocatable
from runner.lab.gpu import allocatable
from runner.lab.gpu.state import changing
from runner.modules.base import Disruption, Risk
from runner.modules.mig_at_boot import FOLDER
from runner.modules.mig_geometry import resolve
from runner.modules.mig_layouts import layout_for, read_layouts
from runner.playbook.load import load_playbook
from tests.mig.simulated import SimulatedHost

PLAYBOOKS = Path(__file__).parent.parent.parent / "playbooks"
PLUGIN = "nvidia-device-plugin-daemonset"
ALL = ["mig-7x1g.yaml", "mig-all-balanced.yaml", "mig-layout.yaml", "mig-off.yaml"]
LAYOUT = {"layout": "all-halves"}


class Node:
    """A simulated host behind the engine's interface."""

    def __init__(self, folder: Path, model: str, count: int = 2) -> None:
        self.host = SimulatedHost(folder, model, count)
        self.labels: dict[str, str] = {}
        self.plugin: dict[str, Any] | None = None
        """The container of the device plugin's DaemonSet; None: there is no such DaemonSet."""

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        return {command.key: self.host.sh(command.shell) for command in commands}

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        raise AssertionError("a plan changes nothing")

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        raise AssertionError("a plan changes nothing")

    def plan(self, playbook: str, **extra: str) -> HostPlan:
        subject = self.subject(playbook, extra)
        observed: dict[str, Any] = {}
        return observe(lambda seen: plan_host(subject, seen), observed, self, self.state, self.read)

    def verify(self, playbook: str, **extra: str) -> dict[str, int]:
        """What the playbook waits for in the end: resource -> how many."""
        subject = self.subject(playbook, extra)
        observed: dict[str, Any] = {}
        plan = observe(
            lambda seen: plan_verify(subject, seen), observed, self, self.state, self.read
        )
        assert plan.problem is None
        waits = [wait for step in plan.steps for wait in step.waits]
        return {w.resource: w.value for w in waits if isinstance(w, WaitAllocatable)}

    def subject(self, playbook: str, extra: Mapping[str, str]) -> Subject:
        path = PLAYBOOKS / playbook
        (play,) = load_playbook(path).plays
        return Subject(Host("gpu-1", "192.0.2.1", Origin("hosts.yaml")), play, path, extra)

    def state(self) -> NodeState:
        pod = PodState("kube-system", "plugin-x", "1", "Running", "DaemonSet", PLUGIN, ready=True)
        return NodeState("gpu-1", labels=self.labels, allocatable={"cpu": "1"}, pods=(pod,))

    def read(self, query: ClusterQuery) -> ObjectState:
        if self.plugin is None:
            return ObjectState(None)
        spec = {"template": {"spec": {"containers": [{"name": "plugin"}, self.plugin]}}}
        return ObjectState({"kind": "DaemonSet", "metadata": {"name": PLUGIN}, "spec": spec})

    def enact(self, plan: HostPlan) -> None:
        assert plan.problem is None, plan.problem
        for step in plan.steps:
            for change in step.changes:
                if step.task.module == "mig":
                    assert self.host.enact(change) is None


def statuses(plan: HostPlan) -> list[tuple[str, str]]:
    return [(step.task.module, step.status) for step in plan.steps]


def offered(node: Node, strategy: str) -> dict[str, int]:
    """What the simulated device plugin offers, without what it has none of."""
    return {name: n for name, n in allocatable(node.host.root, strategy).items() if n}


@pytest.mark.parametrize("model", ["A100-40", "A100-80", "H100-80", "H200-141", "B200"])
def test_seven_each_then_nothing_then_whole_again(model: str, tmp_path: Path) -> None:
    node = Node(tmp_path, model)
    plan = node.plan("mig-7x1g.yaml")
    assert plan.problem is None
    assert (plan.risk, plan.disruption) == (Risk.HIGH, Disruption.GPU)
    assert [step.task.module for step in plan.pending][:1] == ["mig"]
    node.enact(plan)
    assert ("mig", "ok") in statuses(node.plan("mig-7x1g.yaml"))
    assert node.verify("mig-7x1g.yaml") == {"nvidia.com/gpu": 14} == offered(node, "single")
    mixed = node.verify("mig-7x1g.yaml", mig_strategy="mixed")
    assert mixed == offered(node, "mixed") and list(mixed.values()) == [14]
    node.enact(node.plan("mig-off.yaml"))
    assert ("mig", "ok") in statuses(node.plan("mig-off.yaml"))
    assert node.verify("mig-off.yaml") == {"nvidia.com/gpu": 2}


@pytest.mark.parametrize(
    ("model", "resources"),
    [
        ("A30", {"nvidia.com/mig-1g.6gb": 4, "nvidia.com/mig-2g.12gb": 2}),
        (
            "H100-80",
            {
                "nvidia.com/mig-1g.10gb": 4,
                "nvidia.com/mig-2g.20gb": 2,
                "nvidia.com/mig-3g.40gb": 2,
            },
        ),
    ],
)
def test_balanced_with_the_names_of_the_profiles(
    model: str, resources: dict[str, int], tmp_path: Path
) -> None:
    node = Node(tmp_path, model)
    node.enact(node.plan("mig-all-balanced.yaml"))
    assert node.verify("mig-all-balanced.yaml") == resources == offered(node, "mixed")
    assert ("mig", "ok") in statuses(node.plan("mig-all-balanced.yaml"))


def test_a_layout_that_only_adds_drains_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    node.host.smi("-mig", "1")
    node.host.smi("mig", "-cgi", "3g.40gb", "-C")
    plan = node.plan("mig-layout.yaml", **LAYOUT)
    (cut,) = [step for step in plan.pending if step.task.module == "mig"]
    assert cut.disruption == Disruption.NONE
    node.enact(plan)
    assert node.verify("mig-layout.yaml", **LAYOUT) == {"nvidia.com/mig-3g.40gb": 4}


def test_gpus_cut_in_different_ways_are_not_for_the_strategy_single(tmp_path: Path) -> None:
    plan = Node(tmp_path, "H100-80").plan("mig-all-balanced.yaml", mig_strategy="single")
    assert plan.problem is not None
    assert "offers nothing where GPUs are cut in different ways" in plan.problem.reason


def test_without_a_layout_the_playbook_says_how_to_name_one(tmp_path: Path) -> None:
    plan = Node(tmp_path, "H100-80").plan("mig-layout.yaml")
    assert plan.problem is not None
    assert "name the layout of mig-layouts.yaml" in plan.problem.reason


@pytest.mark.parametrize("playbook", ["mig-7x1g.yaml", "mig-off.yaml"])
def test_nodes_that_the_operator_cuts_are_left_to_it(playbook: str, tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    node.labels = {"nvidia.com/mig.config": "all-1g.10gb"}
    plan = node.plan(playbook)
    assert plan.problem is not None
    assert "the MIG manager of NVIDIA's GPU operator" in plan.problem.reason


def test_the_nodes_label_says_which_strategy_the_plugin_has(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    node.labels = {"nvidia.com/mig.strategy": "mixed"}
    plan = node.plan("mig-7x1g.yaml")
    assert plan.problem is not None
    assert "the node's label nvidia.com/mig.strategy says mixed" in plan.problem.reason
    assert node.plan("mig-7x1g.yaml", mig_strategy="mixed").problem is None
    assert node.plan("mig-off.yaml").problem is None, "a whole GPU has one name"


FROM_FIELD = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
SINGLE = {"name": "MIG_STRATEGY", "value": "single"}


@pytest.mark.parametrize(
    ("plugin", "strategy"),
    [
        ({"env": [FROM_FIELD, SINGLE]}, "single"),
        ({"env": [SINGLE], "args": ["--mig-strategy=mixed"]}, "mixed"),
        ({"command": ["nvidia-device-plugin", "--mig-strategy", "mixed"]}, "mixed"),
        ({"env": [{"name": "FAIL_ON_INIT_ERROR", "value": "false"}]}, "none"),
        ({"env": [{"name": "CONFIG_FILE", "value": "/config/config.yaml"}]}, ""),
        ({"args": ["--config-file=/config/config.yaml"]}, ""),
        (None, ""),
    ],
)
def test_what_the_plugin_would_not_offer_is_refused_before_anything_is_cut(
    plugin: dict[str, Any] | None, strategy: str, tmp_path: Path
) -> None:
    """Seen or not; only in "" is it taken to be as the playbook says."""
    node = Node(tmp_path, "H100-80")
    node.plugin = plugin
    for told in ("single", "mixed"):
        problem = node.plan("mig-7x1g.yaml", mig_strategy=told).problem
        if strategy in ("", told):
            assert problem is None
        else:
            assert problem is not None
            assert f"has the strategy {strategy} and would not offer" in problem.reason


@pytest.mark.parametrize("playbook", ["mig-7x1g.yaml", "mig-all-balanced.yaml"])
def test_kept_for_the_next_boot_where_that_is_wanted(playbook: str, tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    summaries = [c.summary for s in node.plan(playbook).pending for c in s.changes]
    assert not any("at boot" in summary for summary in summaries)
    node.enact(node.plan(playbook, persist="true"))
    assert ("mig", "ok") in statuses(node.plan(playbook))
    node.enact(node.plan("mig-off.yaml"))
    assert not list((node.host.root / FOLDER[1:]).iterdir())


@pytest.mark.parametrize("playbook", [name for name in ALL if name != "mig-off.yaml"])
def test_what_is_only_kept_disturbs_nobody(playbook: str, tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    more = LAYOUT if playbook == "mig-layout.yaml" else {}
    cut = node.plan(playbook, **more)
    assert cut.pending[-1].task.module == "daemonset_restart"
    node.enact(cut)
    for persist, text in (("true", "comes back at boot"), ("false", "no MIG at boot")):
        plan = node.plan(playbook, persist=persist, **more)
        (step,) = plan.pending
        assert plan.disruption == Disruption.NONE, "no drain, and no restart of the plugin"
        assert text in step.changes[0].summary
        node.enact(plan)
        assert node.plan(playbook, persist=persist, **more).pending == ()


LAYOUTS = "mig-layouts.yaml"


def test_shipped_layouts_are_possible_on_every_model() -> None:
    layouts = read_layouts((PLAYBOOKS / "files" / LAYOUTS).read_bytes(), LAYOUTS)
    for family in FAMILIES:
        for device in family.devices:
            gpu = Gpu(0, "GPU-0", family.name, "", device)
            for name in layouts.configs:
                ((_, geometry),) = layout_for(layouts, name, [gpu], LAYOUTS)
                resolve(geometry, gpu)


def test_a_t4_is_refused_before_anything_is_planned(tmp_path: Path) -> None:
    plan = Node(tmp_path, "T4").plan("mig-7x1g.yaml")
    assert plan.problem is not None
    assert plan.problem.key.section == "preconditions"
    assert plan.problem.reason.startswith("no MIG on Tesla T4: MIG needs an A100")


@pytest.mark.parametrize("model", ["T4", "L4"])
def test_a_gpu_without_mig_has_mig_off(model: str, tmp_path: Path) -> None:
    plan = Node(tmp_path, model).plan("mig-off.yaml")
    assert (plan.problem, plan.pending) == (None, ())


@pytest.mark.parametrize("playbook", ALL)
def test_a_driver_that_is_not_loaded_is_the_reason(playbook: str, tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    with changing(node.host.root) as state:
        state["modules"] = {}
    problem = node.plan(playbook, **LAYOUT if playbook == "mig-layout.yaml" else {}).problem
    assert problem is not None
    assert "the NVIDIA driver is not loaded" in problem.reason


def test_a_reboot_brings_the_mode_where_the_gpus_cannot_be_reset(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-40")
    with changing(node.host.root) as state:
        for gpu in state["gpus"]:
            gpu["resettable"] = False
    assert node.plan("mig-7x1g.yaml").disruption == Disruption.GPU
    plan = node.plan("mig-7x1g.yaml", reboot="if_needed")
    assert plan.problem is None
    assert plan.disruption == Disruption.REBOOT
    modules = [step.task.module for step in plan.pending if step.key.section == "tasks"]
    assert modules == ["mig", "reboot", "mig"]


def test_no_reboot_for_gpus_that_switch_at_once(tmp_path: Path) -> None:
    plan = Node(tmp_path, "H100-80").plan("mig-7x1g.yaml", reboot="if_needed")
    assert plan.disruption == Disruption.GPU
