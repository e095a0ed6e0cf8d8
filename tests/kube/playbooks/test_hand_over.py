"""A node that `xid-remediate` hands over to a person comes back with `gpu-online`."""

from __future__ import annotations

from pathlib import Path

from runner.kube.maintenance import CORDON_REASON
from runner.lab.gpu import add_xid
from runner.lab.gpu.api import ask_for
from tests.kube.names import NODE, OTHER
from tests.kube.playbooks.stage import Stage

OFFLINE = "gpurun.dev/offline"
OF_A_PERSON = 54
"""XID: auxiliary power is not connected."""


def marks(stage: Stage, name: str) -> tuple[bool, bool, bool, str]:
    """Cordoned, tainted, labelled, and why."""
    node = stage.node(name)
    metadata, spec = node["metadata"], node["spec"]
    return (
        bool(spec.get("unschedulable")),
        OFFLINE in {taint["key"] for taint in spec.get("taints") or ()},
        OFFLINE in metadata["labels"],
        metadata.get("annotations", {}).get(CORDON_REASON, ""),
    )


def test_it_comes_back_once_its_gpus_are_proven(stage: Stage, tmp_path: Path) -> None:
    """The second node has somebody else's cordon, which stays when it is taken back."""
    stage.tool("apt-mark", "")  # part of the evidence, and slow here
    stage.cordon(OTHER)
    for host in stage.hosts.values():
        add_xid(host.root, 0, OF_A_PERSON, "pid='<unknown>', name=<unknown>")
    ended, told = stage.run("xid-remediate.yaml", evidence_folder=str(tmp_path / "evidence"))
    assert ended == {"changed"}, told
    assert marks(stage, NODE) == marks(stage, OTHER) == (True, True, True, "XID 54")

    ask_for(stage.hosts[NODE].root, 1, "Reset")
    ended, told = stage.run("gpu-online.yaml")
    assert ended == {"denied", "changed"} and "the driver asks for: " in told, told
    assert marks(stage, NODE) == (True, True, True, "XID 54")
    assert marks(stage, OTHER) == (True, False, False, "")

    ask_for(stage.hosts[NODE].root, 1, "None")
    ended, told = stage.run("gpu-online.yaml", only=NODE)
    assert ended == {"changed"}, told
    assert marks(stage, NODE) == (False, False, False, "")
