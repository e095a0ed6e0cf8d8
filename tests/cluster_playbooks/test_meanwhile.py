"""What others do to a node while a run has it out of service, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.kube import drain
from runner.kube.api import Api
from tests.cluster_playbooks.world import World

PLAY = """
- name: a disruptive change
  hosts: gpu
  drain: {force: true, delete_emptydir_data: true, timeout: 1}
  tasks:
    - name: the change
      shell: {cmd: "true"}
      disruption: node
"""


def run(world: World, folder: Path) -> tuple[set[str], str]:
    playbook = folder / "playbook.yaml"
    playbook.write_text(PLAY)
    return world.run(str(playbook), only="gpu1")


@pytest.fixture
def when_drained(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Does something when the drain has begun."""

    def set_up(then: Callable[[], None]) -> None:
        real: Any = drain.drain

        def drained(*arguments: Any, **more: Any) -> None:
            then()
            real(*arguments, **more)

        monkeypatch.setattr(drain, "drain", drained)

    return set_up


def test_a_node_that_leaves_the_cluster_is_not_said_to_stay_cordoned(
    world: World, tmp_path: Path, when_drained: Callable[[Callable[[], None]], None]
) -> None:
    def delete() -> None:
        Api(world.kubeconfig).request("DELETE", "/api/v1/nodes/gpu1", "delete a node")

    when_drained(delete)
    ended, told = run(world, tmp_path)
    assert ended == {"failed"}
    assert 'nodes "gpu1" not found' in told, told
    assert "node gpu1 is no longer in the cluster" in told, told
    assert "stays cordoned" not in told, told


def test_a_node_that_was_not_drained_in_time_is_given_back_and_that_is_told(
    world: World, tmp_path: Path
) -> None:
    held = {"finalizers": ["example.com/keep"], "name": "held", "namespace": "default"}
    container = {"name": "c", "image": "x"}
    spec = {"nodeName": "gpu1", "terminationGracePeriodSeconds": 0, "containers": [container]}
    world.lab.create({"apiVersion": "v1", "kind": "Pod", "metadata": held, "spec": spec})
    ended, told = run(world, tmp_path)
    assert ended == {"failed"} and "not drained after 1 s" in told, told
    assert "node gpu1 uncordoned" in told, told
    assert not world.node("gpu1")["spec"].get("unschedulable")
