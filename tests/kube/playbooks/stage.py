"""Two nodes of simulated GPUs in a world, and runs of shipped playbooks on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.hosts.script import Command, Result
from runner.lab.kube import seed
from runner.lab.kube.kubelet import FAST, Kubelet
from runner.lab.kube.nodes import SimulatedNode, node_object
from tests.kube.names import NODE, NS, OTHER
from tests.kube.playbooks.remote import RemoteStore
from tests.kube.playing import Local, play
from tests.kube.world import MINE, World, is_ready, path_of
from tests.mig.simulated import SimulatedHost

Json = dict[str, Any]
PLAYBOOKS = Path(__file__).parent.parent.parent.parent / "playbooks"
PLUGIN = seed.DEVICE_PLUGIN
GPU = "nvidia.com/gpu"
IN_OUR_NAMESPACE = {"plugin_namespace": NS, "rdma_namespace": NS}
LEASES = ("gpurun.rollout", f"gpurun-{NODE}", f"gpurun-{OTHER}")


def ours(item: Json) -> Json:
    """A workload of the lab, in our namespace and on our nodes only."""
    spec = item["spec"]
    pod = {k: v for k, v in spec["template"]["spec"].items() if k != "priorityClassName"}
    pod["nodeSelector"] = {**MINE, **pod.get("nodeSelector", {})}
    meta = {**item["metadata"], "namespace": NS}
    return {
        **item,
        "metadata": meta,
        "spec": {**spec, "template": {**spec["template"], "spec": pod}},
    }


class Stage:
    """Nodes of two GPUs each; the lab's kubelet works on them, through the API.

    Attributes:
        world: the cluster.
        hosts: by the name of the node.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.hosts = {name: SimulatedHost(folder / name, "A100-40", 2) for name in (NODE, OTHER)}
        nodes = [
            SimulatedNode(name, root=str(host.root), model="A100-40", count=2)
            for name, host in self.hosts.items()
        ]
        for lease in LEASES:
            world.removes("Lease", lease, "kube-system")
        for number, node in enumerate(nodes, start=1):
            labels = dict(node_object(node)["metadata"]["labels"])
            # By this label clusters choose nodes for their own DaemonSets.
            del labels["kubernetes.io/os"]
            world.node(number, gpus=2, labels=labels)
        self.kubelet = Kubelet(RemoteStore(world), nodes, FAST)  # type: ignore[arg-type]
        world.kubelet(self.kubelet.step)
        for name, key in ((PLUGIN, "device-plugin"), (seed.EXPORTER, "dcgm-exporter")):
            self.daemonset(name, {f"nvidia.com/gpu.deploy.{key}": "true"})
        self.daemonset("node-agent", {})
        world.until(lambda: [len(self.ready_on(name)) for name in self.hosts] == [3, 3], "ready")

    def close(self) -> None:
        """Let nothing of what playbooks made be left."""
        for kind in ("Deployment", "DaemonSet", "ConfigMap"):
            self.world.clear(kind)

    def daemonset(self, name: str, selector: dict[str, str]) -> None:
        image = f"nvcr.io/nvidia/{'k8s-device-plugin' if name == PLUGIN else name}:v0.17.1"
        container = "nvidia-device-plugin-ctr" if name == PLUGIN else ""
        env = [{"name": "MIG_STRATEGY", "value": "single"}] if name == PLUGIN else []
        item = ours(seed.daemon_set(name, image, selector, env, container))
        self.world.create("DaemonSet", item)

    def deployment(self, name: str, replicas: int, gpus: int = 0) -> None:
        """Pods that run, on whichever of the nodes."""
        self.world.create("Deployment", ours(seed.deployment(name, replicas, gpus)))
        labels = f"app={name}"
        self.world.until(
            lambda: (
                len([p for p in self.world.found("Pod", labels=labels) if is_ready(p)]) == replicas
            ),
            f"{name} runs",
        )

    def pod(self, name: str, gpus: int, node: str = NODE) -> None:
        """A pod that runs on a node and holds GPUs."""
        container: Json = {"name": "c", "image": "registry.example/c:1"}
        container["resources"] = {"limits": {GPU: str(gpus)}}
        spec = {"nodeName": node, "containers": [container]}
        self.world.create("Pod", {"metadata": {"name": name}, "spec": spec})
        self.world.until(lambda: is_ready(self.world.get("Pod", name)), f"{name} runs")

    def run(self, playbook: str, only: str = "", **extra: Any) -> tuple[set[str], str]:
        """The hosts' ends and everything that was told."""
        names = [only] if only else list(self.hosts)
        return play(self.world, PLAYBOOKS / playbook, names, **{**IN_OUR_NAMESPACE, **extra})

    def node(self, name: str) -> Json:
        return self.world.get("Node", name)

    def offers(self, resource: str = GPU) -> list[str]:
        """How many each node offers."""
        found = [self.node(name)["status"]["allocatable"] for name in self.hosts]
        return [str(allocatable.get(resource, "")) for allocatable in found]

    def on(self, node: str) -> list[Json]:
        """The pods of a node."""
        return [pod for pod in self.world.found("Pod") if pod["spec"].get("nodeName") == node]

    def ready_on(self, node: str) -> list[Json]:
        return [pod for pod in self.on(node) if is_ready(pod)]

    def cordon(self, node: str, agent: str = "kubectl-cordon", **metadata: Any) -> None:
        """Cordon a node as somebody else would."""
        body = {"metadata": metadata, "spec": {"unschedulable": True}}
        self.world.ask("PATCH", path_of("Node", name=node), body, fieldManager=agent)

    def tool(self, name: str, output: str) -> None:
        """A command of every node that prints this."""
        for host in self.hosts.values():
            path = host.bin / name
            path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
            path.chmod(0o755)

    def connection(self) -> type[Local]:
        """What stands for SSH: commands see the simulated GPUs of their host."""
        hosts = self.hosts

        class Simulated(Local):
            def __init__(self, host: Any, **_: Any) -> None:
                super().__init__(host)
                self.simulated = hosts[host.name]

            def look(self, commands: Sequence[Command]) -> dict[str, Result]:
                return {command.key: self.simulated.sh(command.shell) for command in commands}

        return Simulated
