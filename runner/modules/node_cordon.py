"""`node_cordon`: a node is out of service, and stays so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, model_validator

from runner.kube.maintenance import CORDON_REASON, CORDONED_AT, CORDONED_BEFORE, CORDONED_BY
from runner.kube.state import NODE, KeepCordoned, NodeState
from runner.modules.base import Arguments, Change, Context, Disruption, Module, Outcome, Probe, Risk
from runner.modules.node_label import read_node

_DRAINS: dict[str, tuple[Disruption, str]] = {
    "all": (Disruption.NODE, "cordon and drain"),
    "gpu": (Disruption.GPU, "cordon, GPU pods go"),
    "none": (Disruption.NONE, "cordon, running pods stay"),
}


class NodeCordonArguments(Arguments):
    state: Literal["present", "absent"] = Field(
        "present", description="absent: what this module has cordoned is given back."
    )
    reason: str = Field(
        "",
        max_length=500,
        description=f"Why; kept in the node's annotation `{CORDON_REASON}`.",
    )
    pods: Literal["all", "gpu", "none"] = Field(
        "all", description="Which pods go: all that a drain evicts, those with GPUs, none."
    )

    @model_validator(mode="after")
    def _says_why(self) -> NodeCordonArguments:
        if self.state == "present" and not self.reason.strip():
            raise ValueError("reason is needed: say why, for whoever finds the node")
        if not self.reason.isprintable():
            raise ValueError("reason is one line")
        return self


class NodeCordon(Module[NodeCordonArguments]):
    """Cordons the host's node, drains it, and leaves it cordoned when the run is over.

    What other tasks need a drained node for is given back by the run itself. This is for a node
    that is to stay out of service: the cordon is no longer the run's, and its reason is written on
    the node. A node that somebody has cordoned before gets the reason, and stays theirs.

    `state: absent` takes the reason off again and uncordons the node, unless somebody had cordoned
    it before; a node without such a reason is left alone: a cordon that is nobody's any more is
    for `node_uncordon`. Prove the node before.

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
        "- name: back to work\n  node_cordon: {state: absent}\n",
    )

    def probes(self, args: NodeCordonArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: NodeCordonArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        before = node.annotations.get(CORDON_REASON)
        if args.state == "absent":
            return Outcome() if before is None else Outcome((_give_back(node, before),))
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


def _give_back(node: NodeState, reason: str) -> Change:
    theirs = CORDONED_BEFORE in node.annotations
    words = "stays cordoned, as somebody else had cordoned it before" if theirs else "uncordon"
    ours = (CORDON_REASON, CORDONED_BEFORE)
    left = {key: value for key, value in node.annotations.items() if key not in ours}
    return Change(
        summary=f"node {node.name}: {words}; it was out of service for: {reason}",
        do=(KeepCordoned(""),),
        risk=Risk.MEDIUM,
        before={"unschedulable": node.unschedulable, "reason": reason},
        after={"unschedulable": node.unschedulable and theirs, "reason": None},
        overlay={
            NODE: replace(node, unschedulable=node.unschedulable and theirs, annotations=left)
        },
    )
