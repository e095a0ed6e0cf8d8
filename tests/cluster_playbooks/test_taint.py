"""A play whose drain has a taint: planned, set while the node is out of service, and removed."""

from __future__ import annotations

from pathlib import Path

from tests.cluster_playbooks.world import World

PLAY = """
- name: a disruptive change
  hosts: gpu
  drain: {{force: true, delete_emptydir_data: true, taint: "example.com/repair=yes:{effect}"}}
  tasks:
    - name: the change
      shell: {{cmd: "{command}"}}
      disruption: node
"""


def run(world: World, folder: Path, effect: str, command: str) -> tuple[set[str], str]:
    playbook = folder / "playbook.yaml"
    playbook.write_text(PLAY.format(effect=effect, command=command))
    return world.run(str(playbook), only="gpu1")


def taints(world: World) -> list[str]:
    return [taint["key"] for taint in world.node("gpu1")["spec"].get("taints", ())]


def test_it_is_there_until_the_run_gives_the_node_back(world: World, tmp_path: Path) -> None:
    before = taints(world)
    ended, told = run(world, tmp_path, "PreferNoSchedule", "false")
    assert ended == {"failed"}, told
    cordon = "node.kubernetes.io/unschedulable"  # the control plane's own
    assert set(taints(world)) == {*before, "example.com/repair", cordon}, told
    ended, told = run(world, tmp_path, "PreferNoSchedule", "true")
    assert ended == {"changed"}, told
    assert taints(world) == before and not world.node("gpu1")["spec"].get("unschedulable")


def test_a_node_that_could_not_start_its_daemonsets_anew_is_denied(
    world: World, tmp_path: Path
) -> None:
    ended, told = run(world, tmp_path, "NoSchedule", "true")
    assert ended == {"denied"}, told
    assert "would keep pods of DaemonSets from being started anew there: kube-system/" in told
    assert "example.com/repair" not in taints(world)
