"""`node_uncordon`: a node that somebody left cordoned takes pods again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from runner.kube.maintenance import CORDON_REASON, CORDONED_BY, OTHERS_MARKS, RUN
from runner.kube.state import NODE, NodeState, Uncordon
from runner.modules.base import Arguments, Change, Context, Module, Outcome, Probe, Refused, Risk
from runner.modules.node_label import read_node


class NodeUncordonArguments(Arguments):
    force: bool = Field(
        False, description="Even where another program's mark says that it holds the node."
    )


class NodeUncordon(Module[NodeUncordonArguments]):
    """Makes a node schedulable that is cordoned, and says who cordoned it and when.

    For a node that was left behind: what gpurun itself cordons it uncordons without this. A node
    that a run of gpurun has not finished with is refused (`gpurun resume` gives it back), so is one
    that `node_cordon` took out of service (its `state: absent` gives it back), and one that carries
    the mark of another program, unless `force` says otherwise. Medium risk: pods come to the node
    at once, so prove it first.

    It belongs into a play of its own, in which nothing drains the node.
    """

    name = "node_uncordon"
    arguments = NodeUncordonArguments
    risk = Risk.MEDIUM
    needs_cluster = True
    examples = (
        """\
- name: pods may come back
  node_uncordon: {}
""",
    )

    def probes(self, args: NodeUncordonArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: NodeUncordonArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        if not node.unschedulable:
            return Outcome()
        run = node.annotations.get(RUN) or node.annotations.get(CORDONED_BY)
        if run:
            raise Refused(f"run {run} has not finished with node {node.name}: gpurun resume {run}")
        reason = node.annotations.get(CORDON_REASON)
        if reason is not None:
            raise Refused(
                f"node {node.name} was taken out of service: {reason or 'no reason is given'}; "
                "playbook gpu-online (module node_cordon with state: absent) gives it back"
            )
        marks = _others(node)
        if marks and not args.force:
            raise Refused(
                f"node {node.name} is held by another program ({', '.join(marks)}): let that give "
                "it back, or say force: true"
            )
        return Outcome(
            changes=(
                Change(
                    summary=f"uncordon node {node.name} (cordoned by {_by(node, marks)})",
                    do=(Uncordon(),),
                    risk=Risk.MEDIUM,
                    before={
                        "unschedulable": True,
                        "by": node.cordoned_by,
                        "since": node.cordoned_at,
                    },
                    after={"unschedulable": False},
                    overlay={NODE: replace(node, unschedulable=False)},
                ),
            )
        )


def _others(node: NodeState) -> list[str]:
    keys = sorted({*node.labels, *node.annotations})
    return [key for key in keys if key.startswith(OTHERS_MARKS)]


def _by(node: NodeState, marks: Sequence[str]) -> str:
    who = node.cordoned_by or "somebody, whom the server does not name"
    since = f" since {node.cordoned_at}" if node.cordoned_at else ""
    return f"{who}{since}" + (f"; marked {', '.join(marks)}" if marks else "")
