"""`node_taint`: one taint of the Kubernetes node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from runner.kube.state import NODE, SetTaint
from runner.kube.taints import RESERVED
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Risk,
)
from runner.modules.node_label import label_name_problem, label_value_problem, read_node

Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

_CONSEQUENCES: dict[str, tuple[Risk, Disruption]] = {
    "PreferNoSchedule": (Risk.LOW, Disruption.NONE),
    "NoSchedule": (Risk.MEDIUM, Disruption.NONE),
    "NoExecute": (Risk.HIGH, Disruption.NODE),
}


class NodeTaintArguments(Arguments):
    key: str = Field(description="`[prefix/]name`, like a label's.")
    value: str = Field("", description="Value of the taint.")
    effect: Effect | None = Field(
        None, description="What happens to pods without a toleration; absent: every effect."
    )
    state: Literal["present", "absent"] = Field("present", description="Whether it is there.")

    @field_validator("key")
    @classmethod
    def _not_the_control_planes(cls, key: str) -> str:
        problem = label_name_problem(key)
        if problem:
            raise ValueError(problem)
        if key.startswith(RESERVED):
            raise ValueError(f"{key}: the control plane sets and removes this taint itself")
        return key

    @field_validator("value")
    @classmethod
    def _valid_value(cls, value: str) -> str:
        problem = label_value_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _present_needs_an_effect(self) -> NodeTaintArguments:
        if self.state == "present" and self.effect is None:
            raise ValueError("effect is needed: NoSchedule, PreferNoSchedule or NoExecute")
        if self.state == "absent" and self.value:
            raise ValueError("a taint is removed by its key and effect; leave value out")
        return self


class NodeTaint(Module[NodeTaintArguments]):
    """Sets or removes a taint of the host's Kubernetes node; other taints are left alone.

    A node has at most one taint of a key and effect: another value replaces it. `NoExecute` ends
    every running pod that does not tolerate it, without regard to disruption budgets; therefore
    the node is drained before. `NoSchedule` keeps new pods away, which is medium risk.
    """

    name = "node_taint"
    arguments = NodeTaintArguments
    risk = Risk.HIGH
    disruption = Disruption.NODE
    needs_cluster = True
    examples = (
        """\
- name: only pods that ask for GPUs come here
  node_taint:
    key: nvidia.com/gpu
    value: present
    effect: NoSchedule
""",
        """\
- node_taint:
    key: example.com/under-repair
    state: absent
""",
    )

    def probes(self, args: NodeTaintArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: NodeTaintArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        before = tuple(taint for taint in node.taints if _same(taint, args))
        after = (_written(args),) if args.state == "present" else ()
        if before == after:
            return Outcome()
        others = tuple(taint for taint in node.taints if taint not in before)
        risk, disruption = (Risk.LOW, Disruption.NONE)
        if args.state == "present":
            risk, disruption = _CONSEQUENCES[str(args.effect)]
        return Outcome(
            changes=(
                Change(
                    summary=f"node {node.name}: taint {_shown(before)} -> {_shown(after)}",
                    do=(SetTaint(args.key, args.effect or "", args.value, bool(after)),),
                    risk=risk,
                    disruption=disruption,
                    before=list(before),
                    after=list(after),
                    overlay={NODE: replace(node, taints=(*others, *after))},
                ),
            )
        )


def _same(taint: str, args: NodeTaintArguments) -> bool:
    """Whether a taint as `NodeState` writes it is the one these arguments are about."""
    named, _, effect = taint.rpartition(":")
    return named.partition("=")[0] == args.key and args.effect in (None, effect)


def _written(args: NodeTaintArguments) -> str:
    return f"{args.key}{'=' + args.value if args.value else ''}:{args.effect}"


def _shown(taints: Sequence[str]) -> str:
    return ", ".join(taints) or "(none)"
