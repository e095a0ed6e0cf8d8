"""What the lab's device plugin makes of a configuration."""

from __future__ import annotations

import pytest

from runner.lab.kube import gpus

SLICED = """\
version: v1
sharing:
  timeSlicing:
    renameByDefault: %s
    resources: [{name: nvidia.com/gpu, replicas: %s}]
"""


@pytest.mark.parametrize(
    ("config", "offered"),
    [
        ("version: v1\n", {"nvidia.com/gpu": 2}),
        (SLICED % ("false", 4), {"nvidia.com/gpu": 8}),
        (SLICED % ("true", 4), {"nvidia.com/gpu.shared": 8}),
    ],
)
def test_what_the_labs_plugin_offers(config: str, offered: dict[str, int]) -> None:
    assert gpus.shared({"nvidia.com/gpu": 2}, config) == offered


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("version: v2\n", "unknown version: v2"),
        (SLICED % ("false", 1), "number of replicas must be >= 2"),
        ("version: v1\nsharing: {timeSlicing: {resources: []}}\n", "no resources specified"),
    ],
)
def test_what_the_labs_plugin_refuses(config: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gpus.shared({"nvidia.com/gpu": 2}, config)
