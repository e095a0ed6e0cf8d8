"""A node that `xid-remediate` hands over to a person comes back with `gpu-online`."""

from __future__ import annotations

from pathlib import Path

from runner.kube.maintenance import CORDON_REASON
from runner.lab.gpu import add_xid
from runner.lab.gpu.api import ask_for
from tests.cluster_playbooks.world import World

OFFLINE = "gpurun.dev/offline"
OF_A_PERSON = 54
"""XID: auxiliary power is not connected."""


def marks(world: World, name: str) -> tuple[bool, bool, bool, str]:
    """Cordoned, tainted, labelled, and why."""
    node = world.node(name)
    metadata, spec = node["metadata"], node["spec"]
    return (
        bool(spec.get("unschedulable")),
        OFFLINE in {taint["key"] for taint in spec.get("taints") or ()},
        OFFLINE in metadata["labels"],
        metadata.get("annotations", {}).get(CORDON_REASON, ""),
    )


def test_it_comes_back_once_its_gpus_are_proven(world: World, tmp_path: Path) -> None:
    """The second node has somebody else's cordon, which stays when it is taken back."""
    world.tool("apt-mark", "")  # part of the evidence, and slow here
    world.cordon("gpu2")
    for host in world.hosts.values():
        add_xid(host.root, 0, OF_A_PERSON, "pid='<unknown>', name=<unknown>")
    ended, told = world.run("xid-remediate.yaml", evidence_folder=str(tmp_path / "evidence"))
    assert ended == {"changed"}, told
    assert marks(world, "gpu1") == marks(world, "gpu2") == (True, True, True, "XID 54")

    ask_for(world.hosts["gpu1"].root, 1, "Reset")
    ended, told = world.run("gpu-online.yaml")
    assert ended == {"denied", "changed"} and "the driver asks for: " in told, told
    assert marks(world, "gpu1") == (True, True, True, "XID 54")
    assert marks(world, "gpu2") == (True, False, False, "")

    ask_for(world.hosts["gpu1"].root, 1, "None")
    ended, told = world.run("gpu-online.yaml", only="gpu1")
    assert ended == {"changed"}, told
    assert marks(world, "gpu1") == (False, False, False, "")
