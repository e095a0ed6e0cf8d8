"""The link between pods and the nodes' simulated GPUs."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from runner.lab.kube.kinds import Json
from runner.lab.kube.nodes import GPU, SimulatedNode


def resources(node: SimulatedNode, strategy: str) -> dict[str, int]:
    """What a device plugin that starts now advertises."""
    if not node.root:
        return {GPU: node.count}
    from runner.lab import gpu
    from runner.lab.gpu.state import NodeMissing

    try:
        return gpu.allocatable(Path(node.root), strategy)
    except (NodeMissing, OSError, ValueError):
        # A node without readable GPU state has no GPU a plugin could find.
        return {GPU: 0}


def config_source(pod: Json) -> tuple[str, str] | None:
    """(ConfigMap, key) of the file that a device plugin's CONFIG_FILE names; None without one."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    for container in pod["spec"]["containers"]:
        named = [e.get("value") for e in container.get("env") or () if e["name"] == "CONFIG_FILE"]
        for mount in container.get("volumeMounts") or ():
            folder, _, key = str(named[0] if named else "").rpartition("/")
            source = volumes.get(mount["name"], {}).get("configMap")
            if source and key and mount["mountPath"].rstrip("/") == folder:
                return source["name"], key
    return None


def shares_by_mps(config: str) -> bool:
    """Whether a configuration of the device plugin shares GPUs by MPS, which wins over slices."""
    return bool(((yaml.safe_load(config) or {}).get("sharing") or {}).get("mps"))


def shared(physical: Mapping[str, int], config: str) -> dict[str, int]:
    """What the device plugin advertises with this configuration.

    Raises:
        ValueError: the plugin would not start; its own words.
    """
    document = yaml.safe_load(config) or {}
    if document.get("version") != "v1":
        raise ValueError(f"unknown version: {document.get('version')}")
    sharing = document.get("sharing") or {}
    slicing = sharing.get("mps") or sharing.get("timeSlicing")
    offered = dict(physical)
    if slicing is None:
        return offered
    entries = slicing.get("resources") or []
    if not entries:
        raise ValueError("no resources specified")
    for entry in entries:
        replicas, name = entry.get("replicas"), entry.get("name", "")
        if not isinstance(replicas, int) or replicas < 2:
            raise ValueError("number of replicas must be >= 2")
        if name in physical:
            count = offered.pop(name) * replicas
            offered[f"{name}.shared" if slicing.get("renameByDefault") else name] = count
    return offered


def hold(node: SimulatedNode, uid: str, name: str, indices: Sequence[int]) -> None:
    """Let a pod's process hold GPUs of the node."""
    if node.root:
        from runner.lab import gpu
        from runner.lab.gpu.state import NodeMissing

        with contextlib.suppress(NodeMissing, OSError):
            gpu.add_client(Path(node.root), uid, process_id(uid), name, list(indices))


def release(node: SimulatedNode, uid: str) -> None:
    """The pod's process is gone."""
    if node.root:
        from runner.lab import gpu
        from runner.lab.gpu.state import NodeMissing

        with contextlib.suppress(NodeMissing, OSError):
            gpu.remove_client(Path(node.root), uid)


def holders(node: SimulatedNode) -> frozenset[str] | None:
    """UIDs of the pods whose processes the node knows; None where that cannot be read, and before
    the node's kubelet has started.

    A boot of the node forgets them all.
    """
    if not node.root:
        return None
    from runner.lab.gpu.state import NodeMissing, read

    try:
        state = read(Path(node.root))
        return None if state["booting"] else frozenset(state["clients"])
    except (NodeMissing, OSError, ValueError):
        return None


def process_id(uid: str) -> int:
    """A process id that stays the same for a pod."""
    return 10_000 + zlib.crc32(uid.encode()) % 4_000_000
