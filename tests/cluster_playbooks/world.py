"""Nodes of simulated GPUs, the lab's cluster, and runs of shipped playbooks on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.engine.events import Event, Events
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import Origin
from runner.inventory.model import Host, Inventory
from runner.lab.kube.api import answer
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.credentials import ADMIN
from runner.lab.kube.nodes import SimulatedNode
from runner.lab.kube.requests import Request
from runner.playbook.load import load_playbook
from tests.mig.simulated import SimulatedHost

PLAYBOOKS = Path(__file__).parent.parent.parent / "playbooks"
ORIGIN = Origin("hosts.yaml", 1, 1)


class World:
    """Nodes of two GPUs each, their cluster, and runs on them."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.hosts = {name: SimulatedHost(folder / name, "A100-40", 2) for name in names}
        nodes = [
            SimulatedNode(name, root=str(host.root), model="A100-40", count=2)
            for name, host in self.hosts.items()
        ]
        self.lab = LabCluster(nodes, workloads=True)
        self.kubeconfig = self.lab.kubeconfig

    def run(self, playbook: str, only: str | None = None, **extra: Any) -> tuple[set[str], str]:
        """The hosts' ends and everything that was told."""
        told: list[Event] = []
        variables = {"kubeconfig": str(self.kubeconfig)}
        hosts = {name: Host(name, "192.0.2.1", ORIGIN, variables=variables) for name in self.hosts}
        run = Run(
            load_playbook(PLAYBOOKS / playbook),
            Inventory(("x",), hosts, {"all": tuple(hosts), "gpu": tuple(hosts)}),
            Settings(run="run-1", limit=only, extra=extra),
            Events([told.append]),
            lambda states: True,
            Stop(),
        )
        states: list[HostState] = run.apply()
        self.lab.settle()
        lines = [f"{e.kind} {e.text} {e.data.get('reason', '')}" for e in told]
        lines += [f"{s.host.name}: {s.result.reason}" for s in states if s.result]
        plans = [state.plan for state in states if state.plan]
        lines += [c.summary for plan in plans for step in plan.steps for c in step.changes]
        lines += [text for plan in plans for step in plan.steps for text in step.messages]
        text = "\n".join(lines)
        return {s.result.status for s in states if s.result}, text

    def node(self, name: str) -> dict[str, Any]:
        item = self.lab.get("Node", name)
        assert item
        return item

    def offers(self, node: str, resource: str = "nvidia.com/gpu") -> str:
        return str(self.node(node)["status"]["allocatable"].get(resource, ""))

    def cordon(self, node: str, agent: str = "kubectl-cordon", **metadata: Any) -> None:
        """Cordon a node as somebody else would."""
        body = {"metadata": metadata, "spec": {"unschedulable": True}}
        request = Request(
            "PATCH",
            f"/api/v1/nodes/{node}",
            ADMIN,
            {"fieldManager": agent},
            "application/merge-patch+json",
            content=json.dumps(body).encode(),
        )
        answer(self.lab.store, request)
        self.lab.settle()

    def tool(self, name: str, output: str) -> None:
        """A command of every node that prints this."""
        for host in self.hosts.values():
            path = host.bin / name
            path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
            path.chmod(0o755)
