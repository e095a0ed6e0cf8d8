"""The runtime playbooks plan what the runtime of a node needs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.engine.observe import observe
from runner.engine.pending import PENDING
from runner.engine.planner import kept_after, plan_host, plan_verify
from runner.engine.planning import HostPlan
from runner.engine.subject import Subject
from runner.errors import Origin
from runner.facts import container_runtime, containerd, crio, gpu_users
from runner.facts.apt import PLANNED
from runner.facts.container_runtime import Daemon, Daemons
from runner.facts.containerd import ContainerdState
from runner.facts.crio import CrioState
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.inventory.model import Host
from runner.kube.state import NodeState, WaitAllocatable
from runner.modules.base import Disruption, Unknown
from runner.modules.files.state import FileState, ancestors, with_content
from runner.playbook.load import load_playbook

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
CONTAINERD = Daemon(
    containerd.CONFIG_PATH, "/run/containerd/containerd.sock", unit="containerd.service"
)
K3S = Daemon(
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/run/k3s/containerd/containerd.sock",
    unit="k3s-agent.service",
)
MICROK8S = Daemon(
    "/var/snap/microk8s/current/args/containerd.toml",
    "/var/snap/microk8s/common/run/containerd.sock",
    unit="snap.microk8s.daemon-containerd.service",
)
CRIO = Daemon(crio.CONFIG_PATH, "/run/crio/crio.sock", "cri-o", "crio.service")
DOCKER = Daemon("/etc/docker/daemon.json", "/run/cri-dockerd.sock", "docker", "docker.service")
CRIO_DROP_IN = "/etc/crio/crio.conf.d/99-nvidia.toml"
TEMPLATE = "/var/snap/microk8s/current/args/containerd-template.toml"


class Node:
    """A host whose files are given; other looks find the toolkit, and what `grep` is told."""

    def __init__(self, found: int = 1) -> None:
        self.found = found

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        return {command.key: self.answer(command.key, command.shell) for command in commands}

    def answer(self, key: str, shell: str) -> Result:
        if key.startswith("service:"):
            return Result(0, b"LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n")
        if key == "gpu:users":
            return Result(0, b"all\nend\n")
        if key.startswith("exists:"):
            return Result(0)
        if "grep -E" in shell:
            return Result(self.found)
        assert key == PENDING or "[ -x" in shell, (key, shell)
        return Result(0)

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        raise AssertionError("a plan changes nothing")

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        raise AssertionError("a plan changes nothing")


def observed(daemons: Daemons) -> dict[str, Any]:
    states: dict[str, Any] = {
        container_runtime.KEY: daemons,
        "docker-validator": True,
        PLANNED: False,
        gpu_users.KEY: gpu_users.GpuUsers(),
        crio.key(crio.CONFIG_PATH, "/etc/crio/crio.conf.d"): CrioState(True),
    }
    for path in (containerd.CONFIG_PATH, MICROK8S.config):
        states[containerd.key(path)] = ContainerdState(True, path, "containerd", "2.0", (2, 0))
    paths = (
        containerd.CONFIG_PATH,
        DOCKER.config,
        "/etc/crio/crio.conf.d/99-nvidia.toml",
        TEMPLATE,
    )
    for path in paths:
        states[f"file:{path}"] = FileState(path, "absent", owner="root", group="root", uid=0, gid=0)
        for each in ancestors(path):
            states[f"file:{each}"] = FileState(each, "directory", 0o755, "root", "root", 0, 0)
    template = FileState(TEMPLATE, "file", 0o644, "root", "root", 0, 0)
    states[f"file:{TEMPLATE}"] = with_content(template, b"version = 2\n")
    return states


def planned(
    daemons: Daemons, found: int = 1, playbook: str = "containerd-nvidia-runtime.yaml"
) -> HostPlan:
    path = PLAYBOOKS / playbook
    (play,) = load_playbook(path).plays
    subject = Subject(Host("gpu-1", "192.0.2.1", Origin("hosts.yaml")), play, path)
    none = Unknown("no cluster")
    return observe(
        lambda seen: plan_host(subject, seen), observed(daemons), Node(found), lambda: none
    )


@pytest.mark.parametrize(
    ("daemons", "path"),
    [
        (Daemons((CONTAINERD,)), CONTAINERD.config),
        (Daemons((CONTAINERD, CRIO), CONTAINERD.address), CONTAINERD.config),
        (Daemons((CONTAINERD, CRIO), CRIO.address), CRIO_DROP_IN),
        (Daemons((CONTAINERD, DOCKER)), DOCKER.config),
        (Daemons((MICROK8S,), MICROK8S.address), TEMPLATE),
    ],
)
def test_the_runtime_that_the_node_has(daemons: Daemons, path: str) -> None:
    plan = planned(daemons)
    assert plan.problem is None, plan.problem
    changed, restart = plan.pending
    assert [change.diff.path for change in changed.changes if change.diff] == [path]
    assert restart.label == "restart the container runtime"
    assert restart.disruption == Disruption.NODE


def test_k3s_is_restarted_until_it_has_found_the_toolkit() -> None:
    daemons = Daemons((CONTAINERD, K3S), K3S.address)
    (restart,) = planned(daemons).pending
    assert "k3s-agent" in restart.changes[0].summary
    assert planned(daemons, found=0).pending == ()


def test_k3s_keeps_what_it_adds_itself() -> None:
    plan = planned(Daemons((K3S,), K3S.address), playbook="runtime-rollback.yaml")
    assert plan.problem is not None and "k3s adds the runtime itself" in plan.problem.reason


def test_a_node_whose_runtime_is_not_known_is_refused() -> None:
    plan = planned(Daemons((CONTAINERD, CRIO)))
    assert plan.problem is not None
    assert "running here: containerd, cri-o" in plan.problem.reason


class Working(Node):
    """A host on which every command of `verify` succeeds."""

    def answer(self, key: str, shell: str) -> Result:
        return Result(0, b"1.18.0\n")


def waited_for(playbook: str, before: dict[str, str] | None, after: dict[str, str]) -> list[str]:
    """What the playbook waits for before the node is given back.

    Args:
        before: the node's capacity when the run begins; None: no cluster is configured.
        after: what it offers at the end.
    """
    path = PLAYBOOKS / playbook
    (play,) = load_playbook(path).plays
    play = replace(play, preconditions=(), tasks=play.tasks[:1])
    host = Host("gpu-1", "192.0.2.1", Origin("hosts.yaml"))
    subject = Subject(host, play, path, clustered=before is not None)
    known = {container_runtime.KEY: Daemons((CONTAINERD,))}

    def looked(plan: Callable[[Mapping[str, Any]], Any], offers: dict[str, str]) -> HostPlan:
        def node() -> NodeState:
            assert before is not None, "no cluster is configured, yet it is asked"
            return NodeState("gpu-1", capacity=before, allocatable=offers)

        found = observe(plan, dict(known), Working(), node)
        assert found.problem is None, found.problem
        return found

    first = looked(lambda seen: plan_host(subject, seen), before or {})
    kept = kept_after(subject, first, {})
    verify = looked(lambda seen: plan_verify(subject, seen, kept), after)
    waits = [wait for step in verify.steps for wait in step.waits]
    return [str(wait) for wait in waits if isinstance(wait, WaitAllocatable)]


@pytest.mark.parametrize(
    "playbook", ["containerd-nvidia-runtime.yaml", "runtime-install.yaml", "runtime-rollback.yaml"]
)
def test_given_back_when_the_node_offers_what_it_did(playbook: str) -> None:
    some = {"cpu": "64", "nvidia.com/gpu": "8", "nvidia.com/mig-1g.10gb": "0"}
    waits = ["waits until the node offers 8 nvidia.com/gpu (at most 300 s)"]
    assert waited_for(playbook, some, {"nvidia.com/gpu": "0"}) == waits
    assert waited_for(playbook, some, some) == []
    assert waited_for(playbook, {"cpu": "64"}, {}) == [], "never offered a GPU: nothing to wait for"
    assert waited_for(playbook, None, {}) == []
