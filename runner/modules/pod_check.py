"""`pod_check`: a small pod runs a command on this node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from runner.kube.state import CheckPod
from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Refused
from runner.modules.node_label import read_node


class PodCheckArguments(Arguments):
    image: str = Field(min_length=1, description="The image; best by digest or a fixed tag.")
    command: tuple[str, ...] = Field(
        (), description="Program and arguments as a list; empty: what the image runs by itself."
    )
    namespace: str = Field("kube-system", min_length=1, description="Where the pod is made.")
    gpus: int = Field(0, ge=0, description="How many GPUs it asks for, as a limit.")
    resource: str = Field("nvidia.com/gpu", min_length=3, description="What they are asked for as.")
    runtime_class: str = Field("", description="RuntimeClass of the pod, such as `nvidia`.")
    environment: dict[str, str] = Field(default_factory=dict, description="Of the container.")
    timeout: float = Field(120.0, gt=0, description="Seconds, pulling the image included.")

    @field_validator("command", mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"a list is needed, no shell reads it: [{', '.join(value.split())}]")
        return value


class PodCheck(Module[PodCheckArguments]):
    """Runs a command in a pod on this node, keeps what it printed, and removes the pod.

    The pod is put on the node by name and tolerates every taint, so it also runs on a node that is
    cordoned: what it proves (image, runtime, driver and GPU in a container) is proven before other
    pods come. It fails where the command does, with what was printed; `register` keeps `stdout`,
    `stdout_lines` and `rc`. A plan does not start it, and a node on which nothing changes is not
    bothered with it.

    A pod that a killed run left behind ends by itself after `timeout`, and the next check on that
    node removes it. It asks for a GPU only with `gpus`, which must be free then.
    """

    name = "pod_check"
    arguments = PodCheckArguments
    needs_cluster = True
    changes_nothing = True
    examples = (
        """\
- name: a container sees a GPU
  pod_check:
    image: nvcr.io/nvidia/cuda:12.4.1-base-ubuntu22.04
    command: [nvidia-smi, -L]
    gpus: 1
  register: seen
""",
        """\
- pod_check:
    image: busybox:1.36
    command: [echo, pods start here]
    namespace: default
""",
    )

    def probes(self, args: PodCheckArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: PodCheckArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        read_node(observed)
        for text in (*args.command, *args.environment.values()):
            if name := context.secret_in(text):
                raise Refused(
                    f"{name} is a secret, and everyone who may read pods of {args.namespace} would "
                    "see it: let the image read it from a Secret of the cluster"
                )
        timeout = context.seconds(args.timeout)
        return Outcome(waits=(CheckPod(args.namespace, pod_spec(args), timeout),))


def pod_spec(args: PodCheckArguments) -> dict[str, Any]:
    """The specification of the pod, without what every check pod has."""
    container: dict[str, Any] = {"name": "check", "image": args.image}
    if args.command:
        container["command"] = list(args.command)
    if args.environment:
        container["env"] = [{"name": k, "value": v} for k, v in args.environment.items()]
    if args.gpus:
        container["resources"] = {"limits": {args.resource: str(args.gpus)}}
    spec: dict[str, Any] = {"containers": [container]}
    if args.runtime_class:
        spec["runtimeClassName"] = args.runtime_class
    return spec
