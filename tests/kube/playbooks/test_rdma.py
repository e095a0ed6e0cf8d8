"""The playbook `rdma-shared-plugin` on nodes whose tools tell of RDMA devices."""

from __future__ import annotations

import pytest

from tests.kube.playbooks.stage import Stage

PLAYBOOK = "rdma-shared-plugin.yaml"
MODULES = "mlx5_ib 1 0\nib_uverbs 1 0\nrdma_ucm 1 0"
DEVICES = "/dev/infiniband/uverbs0\n/dev/infiniband/rdma_cm"
RESOURCE = "rdma/hca_shared_devices_a"


@pytest.fixture
def adapters(stage: Stage) -> Stage:
    stage.tool("lsmod", MODULES)
    stage.tool("find", DEVICES)
    stage.tool("rdma", "netns shared copy-on-fork on")
    return stage


def test_offered_then_nothing_then_another_number(adapters: Stage) -> None:
    ended, told = adapters.run(PLAYBOOK)
    assert ended == {"changed"}, told
    assert adapters.offers(RESOURCE) == ["63", "63"]
    assert adapters.run(PLAYBOOK)[0] == {"ok"}
    ended, told = adapters.run(PLAYBOOK, rdma_hca_max="32")
    assert ended == {"changed"}, told
    assert adapters.offers(RESOURCE) == ["32", "32"]


@pytest.mark.parametrize(
    ("tool", "output", "words"),
    [
        ("lsmod", "mlx5_ib 1 0\nib_uverbs 1 0", "not loaded: rdma_ucm"),
        ("find", "/dev/infiniband/rdma_cm", "no uverbs device"),
        ("rdma", "netns exclusive copy-on-fork on", "netns exclusive"),
    ],
)
def test_refused_without_what_it_needs(adapters: Stage, tool: str, output: str, words: str) -> None:
    adapters.tool(tool, output)
    ended, told = adapters.run(PLAYBOOK)
    assert ended == {"denied"} and words in told, told
    assert not adapters.world.has("DaemonSet", "rdma-shared-dp-ds")


def test_a_selector_that_the_plugin_would_ignore_is_refused(adapters: Stage) -> None:
    ended, told = adapters.run(PLAYBOOK, selectors={"vendor": ["15b3"]})
    assert ended == {"denied"} and "selectors are vendors" in told, told
