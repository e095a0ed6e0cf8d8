"""`kubernetes_object`: one object of the cluster, by server-side apply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from runner.kube.objects import full_name, not_rolled_out, visible
from runner.kube.state import ApplyObject, DeleteObject, ObjectQuery, ObjectState, WaitRollout
from runner.modules.base import (
    Arguments,
    Change,
    ClusterProbe,
    Context,
    FileDiff,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
)

ROLLED_OUT = ("DaemonSet", "Deployment")
_OTHER_MODULES = {
    "Node": "use node_label or node_taint",
    "Pod": "apply what owns it: a DaemonSet, a Deployment or a Job",
    "Lease": "gpurun holds those of its nodes itself",
}


class KubernetesObjectArguments(Arguments):
    definition: dict[str, Any] = Field(
        description="The object: apiVersion, kind, metadata, and the fields that gpurun is to own."
    )
    state: Literal["present", "absent"] = Field("present", description="Whether it is there.")
    force: bool = Field(
        False, description="Take over fields that another field manager owns with other values."
    )
    wait_rollout: bool = Field(
        True, description="Wait until a DaemonSet's or Deployment's pods are all new and available."
    )
    timeout: float = Field(300.0, gt=0, description="Seconds for the rollout or the deletion.")

    @field_validator("definition")
    @classmethod
    def _is_an_object(cls, item: dict[str, Any]) -> dict[str, Any]:
        meta = item.get("metadata")
        for name, value in (
            ("apiVersion", item.get("apiVersion")),
            ("kind", item.get("kind")),
            ("metadata.name", meta.get("name") if isinstance(meta, dict) else None),
        ):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{name} is needed, as text")
        if item["kind"] in _OTHER_MODULES:
            raise ValueError(f"kind {item['kind']}: {_OTHER_MODULES[item['kind']]}")
        for kept in ("status", "managedFields"):
            if kept in item or kept in item["metadata"]:
                raise ValueError(f"{kept} is the server's: leave it out")
        _texts_only(item)
        return item

    @model_validator(mode="after")
    def _force_applies(self) -> KubernetesObjectArguments:
        if self.force and self.state == "absent":
            raise ValueError("force is about applying: leave it out with state absent")
        return self


def _texts_only(item: Mapping[str, Any]) -> None:
    """Maps of text to text, in which a template easily leaves a number or a boolean."""
    meta = item["metadata"]
    maps = {f"metadata.{name}": meta.get(name) for name in ("labels", "annotations")}
    if item["kind"] in ("ConfigMap", "Secret"):
        maps |= {name: item.get(name) for name in ("data", "stringData")}
    for name, values in maps.items():
        if isinstance(values, dict):
            for key, value in values.items():
                if not isinstance(value, str):
                    raise ValueError(f"{name}.{key}: text is needed (quotes, or the filter string)")


class KubernetesObject(Module[KubernetesObjectArguments]):
    """Applies an object to the host's cluster, or deletes it.

    Server-side apply with the field manager `gpurun`: only the fields given are set, those given
    no more are removed, and fields of other managers are left alone; one that another manager
    holds with a different value is a conflict that names it (`force` takes it over). The plan is
    the server's own answer to a dry run of the same request, with strict field validation, so that
    defaults and admission are in the diff and misspelt fields are errors.

    The object belongs to the cluster: the first host that comes to it applies it, and the other
    hosts of the run find it as wanted. Its namespace has to exist. Applying is medium risk,
    deleting high; neither drains a node by itself.
    """

    name = "kubernetes_object"
    arguments = KubernetesObjectArguments
    risk = Risk.HIGH
    examples = (
        """\
- name: the device plugin's configuration
  kubernetes_object:
    definition:
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: nvidia-device-plugin-config, namespace: kube-system}
      data:
        config.yaml: |
          version: v1
  notify: restart device plugin
handlers:
  - name: restart device plugin
    daemonset_restart: nvidia-device-plugin-daemonset
""",
        """\
- kubernetes_object:
    state: absent
    definition:
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: nvidia-device-plugin-config, namespace: kube-system}
""",
    )

    def probes(self, args: KubernetesObjectArguments, context: Context) -> Sequence[Probe]:
        return ()

    def cluster_probes(
        self, args: KubernetesObjectArguments, context: Context
    ) -> Sequence[ClusterProbe]:
        query = _query(args)
        return (ClusterProbe(_key(query), query),)

    def plan(
        self, args: KubernetesObjectArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        query = _query(args)
        state: ObjectState = observed[_key(query)]
        timeout = args.timeout if context.timeout is None else context.timeout
        if args.state == "absent":
            return _absent(query, state, timeout)
        if state.refused:
            raise Refused(f"{full_name(args.definition)}: {_taught(state.refused)}")
        rollout = None
        if args.wait_rollout and args.definition["kind"] in ROLLED_OUT:
            rollout = WaitRollout(query.manifest, timeout)
        if state.wanted:
            waits = (rollout,) if rollout and not_rolled_out(state.live or {}) else ()
            return Outcome(waits=waits)
        seen = visible(state.live)
        change = Change(
            summary=f"{'create' if state.live is None else 'apply'} {full_name(args.definition)}",
            do=(ApplyObject(query, seen, rollout),),
            risk=Risk.MEDIUM,
            diff=_diff(args.definition, seen, visible(state.applied)),
            overlay={_key(query): ObjectState(state.applied, state.applied)},
        )
        return Outcome(changes=(change,))


def _query(args: KubernetesObjectArguments) -> ObjectQuery:
    return ObjectQuery(args.definition, args.force, args.state == "present")


def _key(query: ObjectQuery) -> str:
    """The dry run's answer depends on the manifest, so its digest is part of the key."""
    asked = json.dumps([query.manifest, query.force, query.dry_run], sort_keys=True, default=str)
    digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
    return f"kubernetes:{full_name(query.manifest)}:{digest}"


def _absent(query: ObjectQuery, state: ObjectState, timeout: float) -> Outcome:
    if state.live is None:
        return Outcome()
    seen = visible(state.live)
    change = Change(
        summary=f"delete {full_name(query.manifest)}",
        do=(DeleteObject(query, seen, timeout),),
        risk=Risk.HIGH,
        diff=_diff(query.manifest, seen, None),
        overlay={_key(query): ObjectState(None)},
    )
    return Outcome(changes=(change,))


def _diff(
    manifest: Mapping[str, Any], before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> FileDiff:
    return FileDiff(
        full_name(manifest),
        _text(before),
        _text(after),
        sensitive=manifest["kind"] == "Secret",
        form="yaml",
    )


def _text(item: Mapping[str, Any] | None) -> str | None:
    if item is None:
        return None
    text: str = yaml.dump(json.loads(json.dumps(item)), Dumper=_Blocks, allow_unicode=True)
    return text


class _Blocks(yaml.SafeDumper):
    """Writes text of several lines as a block, so that a ConfigMap's diff can be read."""


def _lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else "")


_Blocks.add_representer(str, _lines)


def _taught(refused: str) -> str:
    if "conflict" in refused.lower():
        return f"{refused}; force: true takes the fields over"
    if refused.startswith("namespace "):
        return f"{refused}: create it first"
    return refused
