"""`gpurun capacity`: what is offered, used and free."""

from __future__ import annotations

import json

from click.testing import CliRunner, Result

from runner.cli.capacity import capacity
from tests.kube.names import NODE, OTHER
from tests.kube.objects import pod
from tests.kube.world import World

PRODUCT = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}


def call(world: World, *arguments: str) -> Result:
    given = [*arguments, "-i", f"{NODE},{OTHER},", "--kubeconfig", str(world.kubeconfig)]
    return CliRunner().invoke(capacity, given, standalone_mode=False)


def nodes(world: World) -> None:
    for number in (1, 2):
        world.node(number, gpus=4, labels=PRODUCT)
    world.pod(pod("train", gpus=3))
    world.pod(pod("done", gpus=4, phase="Succeeded"))


def test_offered_used_free_and_totals(world: World) -> None:
    nodes(world)
    world.cordon(OTHER)
    found = json.loads(call(world, "-o", "json").stdout)
    first, second = found["nodes"]
    assert (first["allocatable"], first["used"], first["free"]) == (4, 3, 1)
    assert (second["free"], second["note"]) == (0, "cordoned")
    (total,) = found["totals"]
    assert total == {
        "kind": "NVIDIA-A100-SXM4-40GB",
        "resource": "nvidia.com/gpu",
        "allocatable": 8,
        "used": 3,
        "free": 1,
    }


def test_the_table(world: World) -> None:
    nodes(world)
    lines = [line.split() for line in call(world).stdout.splitlines()]
    assert lines[0][:4] == ["NODE", "KIND", "RESOURCE", "ALLOCATABLE"]
    assert lines[1] == [NODE, "NVIDIA-A100-SXM4-40GB", "nvidia.com/gpu", "4", "3", "1"]
    assert lines[-1] == ["TOTAL", "NVIDIA-A100-SXM4-40GB", "nvidia.com/gpu", "8", "3", "5"]


def test_what_cannot_be_read_is_said(world: World) -> None:
    world.node()
    answer = call(world)
    assert answer.return_value == 1
    assert f"{OTHER}: unknown: the cluster has no node '{OTHER}'" in answer.stdout
