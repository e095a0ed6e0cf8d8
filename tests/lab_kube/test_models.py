"""Nodes of every GPU model are nodes that a Kubernetes API takes."""

from __future__ import annotations

import re

import pytest

from runner.lab.gpu.models import MODELS
from runner.lab.kube.nodes import SimulatedNode, node_object

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
"""Kubernetes documentation, "Labels and Selectors", syntax."""


@pytest.mark.parametrize("model", MODELS)
def test_labels_of_every_model_are_valid(model: str) -> None:
    labels = node_object(SimulatedNode("n", model=model))["metadata"]["labels"]
    assert "nvidia.com/gpu.family" in labels
    assert all(_LABEL_VALUE.fullmatch(value) for value in labels.values()), labels
