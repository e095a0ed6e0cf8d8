"""`node_cordon`: a node is out of service, and stays so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator

from runner.kube.maintenance import CORDON_REASON, CORDONED_AT, CORDONED_BY
from runner.kube.state import NODE, KeepCordoned
from runner.modules.base import Arguments, Change, Context, Disruption, Module, Outcome, Probe, Risk
from runner.modules.node_label import read_node

_DRAINS: dict[str, tuple[Disruption, str]] = {
    "all": (Disruption.NODE, "cordon and drain"),
    "gpu": (Disruption.GPU, "cordon, GPU pods go"),
    "none": (Disruption.NONE, "cordon, running pods stay"),
}


class NodeCordonArguments(Arguments):
    reason: str = Field(
        min_length=1,
        max_length=500,
        description=f"Why; kept in the node's annotation `{CORDON_REASON}`.",
    )
    pods: Literal["all", "gpu", "none"] = Field(
        "all", description="Which pods go: all that a drain evicts, those with GPUs, none."
    )

    @field_validator("reason")
    @classmethod
    def _one_line(cls, reason: str) -> str:
        if not reason.strip() or not reason.isprintable():
            raise ValueError("say why, in one line")
        return reason


class NodeCordon(Module[NodeCordonArguments]):
    """Cordons the host's node, drains it, and leaves it cordoned when the run is over.

    What other tasks need a drained node for is given back by the run itself. This is for a node
    that is to stay out of service: the cordon is no longer the run's, and its reason is written on
    the node. A node that somebody has cordoned before gets the reason. To give it back, see the
    playbook `gpu-online`.

    The disruption is `node` (every pod goes), `gpu` or `none`, as `pods` says; medium risk.
    """

    name = "node_cordon"
    arguments = NodeCordonArguments
    risk = Risk.MEDIUM
    disruption = Disruption.NODE
    needs_cluster = True
    examples = (
        """\
- name: out of service until the GPU is replaced
  node_cordon:
    reason: GPU 3 has uncorrectable errors, case 4711
""",
    )

    def probes(self, args: NodeCordonArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: NodeCordonArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        before = node.annotations.get(CORDON_REASON)
        kept = node.unschedulable and CORDONED_BY not in node.annotations
        if kept and before == args.reason:
            return Outcome()
        disruption, words = _DRAINS[args.pods]
        others = {k: v for k, v in node.annotations.items() if k not in (CORDONED_BY, CORDONED_AT)}
        return Outcome(
            changes=(
                Change(
                    summary=f"node {node.name}: {words}, and it stays so: {args.reason}",
                    do=(KeepCordoned(args.reason),),
                    risk=Risk.MEDIUM,
                    disruption=disruption,
                    before={"unschedulable": node.unschedulable, "reason": before},
                    after={"unschedulable": True, "reason": args.reason},
                    overlay={
                        NODE: replace(
                            node,
                            unschedulable=True,
                            annotations={**others, CORDON_REASON: args.reason},
                        )
                    },
                ),
            )
        )
