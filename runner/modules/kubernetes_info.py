"""`kubernetes_info`: what one object of the cluster is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from runner.kube.objects import full_name, visible
from runner.kube.state import ObjectQuery, ObjectState
from runner.modules.base import Arguments, ClusterProbe, Context, Module, Outcome, Probe


class KubernetesInfoArguments(Arguments):
    api_version: str = Field("v1", min_length=1, description="`apps/v1`, `v1`, …")
    kind: str = Field(min_length=1, description="As in a manifest: `DaemonSet`.")
    name: str = Field(min_length=1, description="The object's name.")
    namespace: str = Field("", description="Its namespace, for kinds that have one.")

    @field_validator("kind")
    @classmethod
    def _no_secret(cls, kind: str) -> str:
        if kind == "Secret":
            raise ValueError("what a Secret holds is not read into variables; see docs/secrets.md")
        return kind

    @property
    def read_only(self) -> bool:
        """It looks after the changes that come before it."""
        return True


class KubernetesInfo(Module[KubernetesInfoArguments]):
    """Reads one object of the host's cluster, for conditions of later tasks.

    `register` keeps `exists`, and as `object` the object without what only the server writes
    (status stays, apart from it, as `status`). One that is not there is no error: `exists` is false
    and `object` empty. A kind that the cluster does not have is unknown, which stops the host.
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
        return Outcome(
            result={
                "exists": state.live is not None,
                "object": dict(visible(state.live) or {}),
                "status": dict(live.get("status") or {}),
            }
        )


def _query(args: KubernetesInfoArguments) -> ObjectQuery:
    namespace = {"namespace": args.namespace} if args.namespace else {}
    meta = {"name": args.name, **namespace}
    manifest = {"apiVersion": args.api_version, "kind": args.kind, "metadata": meta}
    return ObjectQuery(manifest, dry_run=False)


def _key(query: ObjectQuery) -> str:
    return f"kubernetes:look:{query.manifest['apiVersion']} {full_name(query.manifest)}"
