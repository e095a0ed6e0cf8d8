"""A play whose drain has a taint: planned, set while the node is out of service, and removed."""

from __future__ import annotations

from pathlib import Path

from tests.kube.names import NODE, NS
from tests.kube.playbooks.stage import Stage

PLAY = """
- name: a disruptive change
  hosts: gpu
  drain: {{force: true, delete_emptydir_data: true, taint: "example.com/repair=yes:{effect}"}}
  tasks:
    - name: the change
      shell: {{cmd: "{command}"}}
      disruption: node
"""


def run(stage: Stage, folder: Path, effect: str, command: str) -> tuple[set[str], str]:
    playbook = folder / "playbook.yaml"
    playbook.write_text(PLAY.format(effect=effect, command=command))
    return stage.run(str(playbook), only=NODE)


def taints(stage: Stage) -> list[str]:
    """Those of the node but what the control plane sets by itself."""
    found = stage.node(NODE)["spec"].get("taints") or ()
    return [taint["key"] for taint in found if "node.kubernetes.io" not in taint["key"]]


def test_it_is_there_until_the_run_gives_the_node_back(stage: Stage, tmp_path: Path) -> None:
    before = taints(stage)
    ended, told = run(stage, tmp_path, "PreferNoSchedule", "false")
    assert ended == {"failed"}, told
    assert taints(stage) == [*before, "example.com/repair"], told
    ended, told = run(stage, tmp_path, "PreferNoSchedule", "true")
    assert ended == {"changed"}, told
    assert taints(stage) == before and not stage.node(NODE)["spec"].get("unschedulable")


def test_a_node_that_could_not_start_its_daemonsets_anew_is_denied(
    stage: Stage, tmp_path: Path
) -> None:
    ended, told = run(stage, tmp_path, "NoSchedule", "true")
    assert ended == {"denied"}, told
    assert f"would keep pods of DaemonSets from being started anew there: {NS}/" in told
    assert "example.com/repair" not in taints(stage)
