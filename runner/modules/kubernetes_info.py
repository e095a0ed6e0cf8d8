"""`kubernetes_info`: what objects of the cluster are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from runner.kube.objects import full_name, visible
from runner.kube.state import ObjectQuery, ObjectState
from runner.modules.base import Arguments, ClusterProbe, Context, Module, Outcome, Probe


class KubernetesInfoArguments(Arguments):
    api_version: str = Field("v1", min_length=1, description="`apps/v1`, `v1`, …")
    kind: str = Field(min_length=1, description="As in a manifest: `DaemonSet`.")
    name: str = Field("", description="The object's name.")
    label_selector: str = Field(
        "",
        description="Instead: all objects of the kind and namespace with these labels,"
        " `key=value[,…]` as kubectl's `-l` takes them.",
        examples=["nvidia.com/device-plugin.config=time-slicing"],
    )
    namespace: str = Field("", description="Its namespace, for kinds that have one.")

    @field_validator("kind")
    @classmethod
    def _no_secret(cls, kind: str) -> str:
        if kind == "Secret":
            raise ValueError("what a Secret holds is not read into variables; see docs/secrets.md")
        return kind

    @model_validator(mode="after")
    def _one_or_many(self) -> KubernetesInfoArguments:
        if bool(self.name) == bool(self.label_selector):
            raise ValueError("give either name or label_selector")
        return self

    @property
    def read_only(self) -> bool:
        """It looks after the changes that come before it."""
        return True


class KubernetesInfo(Module[KubernetesInfoArguments]):
    """Reads objects of the host's cluster, for conditions of later tasks.

    `register` keeps `exists`, and as `object` the object without what only the server writes
    (status stays, apart from it, as `status`). One that is not there is no error: `exists` is false
    and `object` empty. With `label_selector` it keeps the list `objects`, and `exists` says whether
    there is any. A kind that the cluster does not have is unknown, which stops the host.
    """

    name = "kubernetes_info"
    arguments = KubernetesInfoArguments
    changes_nothing = True
    examples = (
        """\
- kubernetes_info:
    api_version: apps/v1
    kind: DaemonSet
    namespace: kube-system
    name: nvidia-device-plugin-daemonset
  register: plugin
- assert:
    that: plugin.exists
    fail_msg: there is no device plugin; device-plugin-deploy.yaml deploys it
""",
        """\
- kubernetes_info:
    kind: Node
    label_selector: nvidia.com/device-plugin.config=time-slicing
  register: sharing
- debug:
    msg: "these nodes share: {{ sharing.objects | map(attribute='metadata.name') | join(', ') }}"
""",
    )

    def probes(self, args: KubernetesInfoArguments, context: Context) -> Sequence[Probe]:
        return ()

    def cluster_probes(
        self, args: KubernetesInfoArguments, context: Context
    ) -> Sequence[ClusterProbe]:
        query = _query(args)
        return (ClusterProbe(_key(query), query),)

    def plan(
        self, args: KubernetesInfoArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        state: ObjectState = observed[_key(_query(args))]
        live = state.live or {}
        if args.label_selector:
            objects = [dict(visible(item) or {}) for item in live.get("items", ())]
            return Outcome(result={"exists": bool(objects), "objects": objects})
        return Outcome(
            result={
                "exists": state.live is not None,
                "object": dict(visible(state.live) or {}),
                "status": dict(live.get("status") or {}),
            }
        )


def _query(args: KubernetesInfoArguments) -> ObjectQuery:
    place = {"name": args.name, "namespace": args.namespace}
    meta = {key: value for key, value in place.items() if value}
    manifest = {"apiVersion": args.api_version, "kind": args.kind, "metadata": meta}
    return ObjectQuery(manifest, dry_run=False, selector=args.label_selector)


def _key(query: ObjectQuery) -> str:
    name = full_name(query.manifest) if not query.selector else _listed(query)
    return f"kubernetes:look:{query.manifest['apiVersion']} {name}"


def _listed(query: ObjectQuery) -> str:
    namespace = query.manifest["metadata"].get("namespace", "")
    return f"{query.manifest['kind']} {namespace} {query.selector}"
