"""`node_label`: labels of the Kubernetes node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator

from runner.kube.state import NODE, NodeState, SetLabels
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Risk,
    Unknown,
)

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

_ACTED_ON: tuple[tuple[str, Risk, Disruption], ...] = (
    ("nvidia.com/mig.config", Risk.HIGH, Disruption.GPU),
    ("nvidia.com/vgpu.config", Risk.HIGH, Disruption.GPU),
    ("nvidia.com/gpu.deploy.", Risk.MEDIUM, Disruption.SERVICE),
    ("nvidia.com/device-plugin.config", Risk.MEDIUM, Disruption.SERVICE),
)
"""Labels that make a controller of the GPU Operator act on the node, and how hard."""


def read_node(observed: Mapping[str, Any]) -> NodeState:
    """The node of an observation. Raises Unknown where the cluster did not answer."""
    node = observed.get(NODE)
    if not isinstance(node, NodeState):
        raise Unknown("the Kubernetes node was not read: is it in the cluster, is the API up?")
    return node


def label_name_problem(key: str) -> str:
    """Why this cannot be a label's name (or a taint's key); "" where it can."""
    prefix, slash, name = key.rpartition("/")
    if _NAME.fullmatch(name) and (not slash or _PREFIX.fullmatch(prefix)):
        return ""
    return f"{key!r} is not a label name: [prefix/]name, name of at most 63"


def label_value_problem(value: str) -> str:
    """Why this cannot be the value of a label or a taint; "" where it can."""
    if not value or _NAME.fullmatch(value):
        return ""
    return f"{value!r} is not a label value: at most 63 letters, digits, '-_.'"


class NodeLabelArguments(Arguments):
    labels: dict[str, str | None] = Field(
        min_length=1, description="Label to value; `null` removes the label."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _strings_only(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key, item in value.items():
                if item is not None and not isinstance(item, str):
                    raise ValueError(
                        f'{key}: a label is text, write "{str(item).lower()}" in quotes'
                    )
        return value

    @field_validator("labels")
    @classmethod
    def _valid_labels(cls, labels: dict[str, str | None]) -> dict[str, str | None]:
        for key, value in labels.items():
            problem = label_name_problem(key) or label_value_problem(value or "")
            if problem:
                raise ValueError(f"{key}: {problem}")
        return labels


class NodeLabel(Module[NodeLabelArguments]):
    """Sets or removes labels of the host's Kubernetes node; other labels are left alone.

    A label is low risk, except those that a controller of NVIDIA's GPU Operator acts on:
    `nvidia.com/mig.config` and `nvidia.com/vgpu.config` repartition GPUs (high risk, GPU clients
    must go), `nvidia.com/device-plugin.config` and `nvidia.com/gpu.deploy.*` restart its pods.
    """

    name = "node_label"
    arguments = NodeLabelArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    needs_cluster = True
    examples = (
        """\
- name: this node offers time-sliced GPUs
  node_label:
    labels:
      nvidia.com/device-plugin.config: time-slicing-4
      example.com/old-marker: null
""",
    )

    def probes(self, args: NodeLabelArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: NodeLabelArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        wanted = {k: v for k, v in args.labels.items() if node.labels.get(k) != v}
        if not wanted:
            return Outcome()
        risk, disruption = _consequences(wanted)
        before = {key: node.labels.get(key) for key in wanted}
        return Outcome(
            changes=(
                Change(
                    summary=f"node {node.name}: label "
                    + ", ".join(
                        f"{k}: {_shown(before[k])} -> {_shown(v)}" for k, v in wanted.items()
                    ),
                    do=(SetLabels(wanted),),
                    risk=risk,
                    disruption=disruption,
                    before=before,
                    after=wanted,
                    overlay={NODE: replace(node, labels=_merged(node.labels, wanted))},
                ),
            )
        )


def _shown(value: str | None) -> str:
    return "(none)" if value is None else value or '""'


def _merged(labels: Mapping[str, str], wanted: Mapping[str, str | None]) -> dict[str, str]:
    both = {**labels, **wanted}
    return {key: value for key, value in both.items() if value is not None}


def _consequences(wanted: Mapping[str, str | None]) -> tuple[Risk, Disruption]:
    hits = [(r, d) for prefix, r, d in _ACTED_ON for key in wanted if key.startswith(prefix)]
    risk = max((r for r, _ in hits), default=Risk.LOW)
    return risk, max((d for _, d in hits), default=Disruption.NONE)
