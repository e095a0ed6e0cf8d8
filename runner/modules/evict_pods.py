"""`evict_pods`: some pods leave the node, and start anew where there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, StrictBool

from runner.kube.state import NODE, EvictPods, PodState
from runner.modules.base import Arguments, Change, Context, Module, Outcome, Probe, Refused, Risk
from runner.modules.node_label import read_node


class EvictPodsArguments(Arguments):
    uids: tuple[str, ...] = Field(description="UIDs of the pods, such as `xid_remedy` registers.")
    delete_emptydir_data: StrictBool = Field(
        False, description="Also pods with emptyDir volumes, whose data is lost."
    )
    force: StrictBool = Field(
        False, description="Also pods without an owner, which nobody starts again."
    )
    timeout: float = Field(600.0, gt=0, description="Seconds until the pods must be gone.")


class EvictPodsModule(Module[EvictPodsArguments]):
    """Evicts pods of this node by their UIDs; their owners start them anew.

    As in a drain PodDisruptionBudgets are honoured, and a pod without an owner is refused unless
    `force` is set. The node is not cordoned for it: medium risk, disruption `none`. UIDs of pods
    that are not on the node (any more) are passed over.
    """

    name = "evict_pods"
    arguments = EvictPodsArguments
    risk = Risk.MEDIUM
    needs_cluster = True
    examples = (
        """\
- name: the workload that met the XID starts anew
  evict_pods:
    uids: "{{ remedy.pods }}"
""",
    )

    def probes(self, args: EvictPodsArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: EvictPodsArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        pods = [pod for pod in node.pods if pod.uid in args.uids and not _over(pod)]
        alone = [pod.full_name for pod in pods if not pod.owner_kind]
        if alone and not args.force:
            raise Refused(
                f"{', '.join(alone)} has no owner that would start it again: delete it yourself, "
                "or set force"
            )
        if not pods:
            return Outcome(result={"pods": []})
        names = [pod.full_name for pod in pods]
        timeout = context.seconds(args.timeout)
        action = EvictPods(
            tuple(pod.uid for pod in pods), args.delete_emptydir_data, args.force, timeout
        )
        left = tuple(pod for pod in node.pods if pod not in pods)
        return Outcome(
            (
                Change(
                    summary=f"node {node.name}: evict {', '.join(names)}",
                    do=(action,),
                    risk=Risk.MEDIUM,
                    before={"pods": names},
                    after={"pods": []},
                    overlay={NODE: replace(node, pods=left)},
                ),
            )
        )


def _over(pod: PodState) -> bool:
    return pod.phase in ("Succeeded", "Failed")
