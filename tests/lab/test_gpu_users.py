"""A pod that asks for no GPU and uses one is found by its process on the node, and goes; a service
of the host that uses one is named. Real processes in real control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, until

pytestmark = pytest.mark.lab

NODE = "gpu-h1"
PODS = "/api/v1/namespaces/default/pods"

DISTURBS = """
- name: Something on the GPUs
  hosts: gpu-h1
  become: true
  tasks:
    - name: Needs the GPUs for itself
      command: {cmd: touch /run/done, creates: /run/done}
      disruption: gpu
"""

HOLDS = "exec 9</dev/nvidia0; exec sleep 3600"


def pod(name: str) -> dict[str, object]:
    """A pod that asks for no GPU."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "x"}]},
    }


@pytest.fixture
def used(fresh: LabUnderTest, cluster: Cluster) -> Iterator[LabUnderTest]:
    """The node with a GPU that a pod and a service have open."""
    host = fresh.host(NODE)
    for name in ("sneaky", "idle"):
        cluster.create(PODS, pod(name))
    uid = cluster.read(f"{PODS}/sneaky")["metadata"]["uid"]
    part = f"kubepods-besteffort-pod{uid.replace('-', '_')}.slice"
    scope = f"cri-containerd-{'ab' * 32}.scope"
    host.check_output("touch /dev/nvidia0")
    host.check_output(
        f"systemd-run --slice={part} --scope --unit={scope} sh -c '{HOLDS}' </dev/null >/dev/null"
        " 2>&1 & sleep 1"
    )
    host.check_output(f"systemd-run --unit=notebook sh -c '{HOLDS}'")
    until(lambda: host.run("systemctl is-active notebook").rc == 0, "the service runs")
    yield fresh
    fresh.reset()


def test_who_uses_a_gpu_is_seen_on_the_node(
    used: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    playbook = tmp_path / "playbook.yaml"
    playbook.write_text(DISTURBS.replace("  tasks:", "  drain: {force: true}\n  tasks:"))
    _, made = program.json("plan", str(playbook))
    (planned,) = made["hosts"]
    assert "default/sneaky" in planned["drain"]["evict"]
    assert "default/idle" not in planned["drain"]["evict"]
    assert any(
        text.startswith("default/sneaky asks for no GPU but uses one: its process sleep (pid ")
        for text in planned["drain"]["warnings"]
    )
    (other,) = planned["gpu_users"]
    assert other.endswith(
        "holds /dev/nvidia0: a service of the host, stopped with: systemctl stop notebook.service"
    )

    applied = program.on_lab("apply", str(playbook), "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    left = cluster.pods(NODE)
    assert "default/sneaky" not in left and "default/idle" in left
    assert not cluster.cordoned(NODE) and not cluster.marks(NODE)
