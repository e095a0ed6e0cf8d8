"""The link between pods and the nodes' simulated GPUs."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Sequence
from pathlib import Path

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
    """UIDs of the pods whose processes the node knows; None where that cannot be read.

    A boot of the node forgets them all.
    """
    if not node.root:
        return None
    from runner.lab.gpu.state import NodeMissing, read

    try:
        return frozenset(read(Path(node.root))["clients"])
    except (NodeMissing, OSError, ValueError):
        return None


def process_id(uid: str) -> int:
    """A process id that stays the same for a pod."""
    return 10_000 + zlib.crc32(uid.encode()) % 4_000_000
