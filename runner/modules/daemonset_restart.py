"""`daemonset_restart`: a new pod of a DaemonSet on this node, or on every node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from runner.kube.maintenance import PAUSED
from runner.kube.state import NodeState, RestartDaemonSet, RestartDaemonSetPod
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
)
from runner.modules.node_label import read_node


class DaemonsetRestartArguments(Arguments):
    name: str = Field(min_length=1, description="Name of the DaemonSet.")
    namespace: str = Field("kube-system", min_length=1, description="Its namespace.")
    whole: bool = Field(
        False, description="All pods of the DaemonSet, on every node: once for the run."
    )
    timeout: float = Field(120.0, gt=0, description="Seconds until the new pods must be Ready.")


class DaemonsetRestart(Module[DaemonsetRestartArguments]):
    """Deletes the DaemonSet's pod on this node and waits until a new one is Ready.

    Meant as a handler: NVIDIA's device plugin reads MIG devices and its configuration only when it
    starts. Only this node's pod is replaced. Medium risk: until the new pod has registered, no GPU
    pod can be placed on the node. A pod that was created after the node's change began counts as
    restarted.

    `whole` replaces the pods of all nodes, one after the other, as `kubectl rollout restart` does:
    also on nodes that the run is not about. The first host does it, the others wait for it.

    As an ordinary task (not a handler) it restarts the pod in every run.
    """

    name = "daemonset_restart"
    arguments = DaemonsetRestartArguments
    free_form = "name"
    risk = Risk.MEDIUM
    needs_cluster = True
    examples = (
        """\
handlers:
  - name: restart device plugin
    daemonset_restart:
      namespace: kube-system
      name: nvidia-device-plugin-daemonset
""",
    )

    def probes(self, args: DaemonsetRestartArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: DaemonsetRestartArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        if not context.notified:
            return Outcome()
        node = read_node(observed)
        if args.whole:
            return Outcome(changes=(_of_all(args, context),))
        pods = [pod.name for pod in node.pods if _owned(pod, args)]
        if not pods and PAUSED not in node.annotations:
            raise Refused(_no_pod(args, node))
        return Outcome(
            changes=(
                Change(
                    summary=f"restart DaemonSet {args.namespace}/{args.name} on {node.name} "
                    f"(pod {', '.join(pods) or 'paused by an unfinished run'})",
                    do=(
                        RestartDaemonSetPod(
                            args.namespace, args.name, context.seconds(args.timeout)
                        ),
                    ),
                    risk=Risk.MEDIUM,
                    before={"pods": pods},
                    after={"pods": "a new Ready pod (name known after change)"},
                ),
            )
        )


def _of_all(args: DaemonsetRestartArguments, context: Context) -> Change:
    return Change(
        summary=f"restart DaemonSet {args.namespace}/{args.name} on every node",
        do=(RestartDaemonSet(args.namespace, args.name, context.seconds(args.timeout)),),
        risk=Risk.MEDIUM,
        before={"pods": "all"},
        after={"pods": "new Ready pods (names known after change)"},
    )


def _owned(pod: Any, args: DaemonsetRestartArguments) -> bool:
    owner = (pod.namespace, pod.owner_kind, pod.owner_name)
    return bool(owner == (args.namespace, "DaemonSet", args.name))


def _no_pod(args: DaemonsetRestartArguments, node: NodeState) -> str:
    there = sorted(
        {f"{p.namespace}/{p.owner_name}" for p in node.pods if p.owner_kind == "DaemonSet"}
    )
    known = ", ".join(there) or "none"
    return (
        f"DaemonSet {args.namespace}/{args.name} has no pod on node {node.name}; DaemonSets with "
        f"a pod there: {known}. Check the name, its nodeSelector and its tolerations."
    )
