"""`kubernetes_object`: objects of the cluster, by server-side apply."""

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
from runner.modules.kubernetes_manifests import check_manifest, read_manifests
from runner.modules.node_label import label_name_problem, label_value_problem

ROLLED_OUT = ("DaemonSet", "Deployment", "StatefulSet")


class KubernetesObjectArguments(Arguments):
    definition: dict[str, Any] | None = Field(
        None,
        description="The object: apiVersion, kind, metadata, and the fields that gpurun is to own.",
    )
    src: str = Field(
        "", description="Instead: a YAML file beside the playbook or in `files/`, of many objects."
    )
    template: str = Field(
        "",
        description="Instead: such a file as a template, beside the playbook or in `templates/`.",
    )
    prune: str = Field(
        "",
        description="Label selector `key=value[,…]`: objects of the kinds and namespaces given that"
        " have these labels, that gpurun owns, and that are given no more, are deleted.",
    )
    state: Literal["present", "absent"] = Field("present", description="Whether it is there.")
    force: bool = Field(
        False, description="Take over fields that another field manager owns with other values."
    )
    replace: bool = Field(
        False,
        description="The object becomes exactly the definition: what that does not name is removed,"
        " whoever set it.",
    )
    because: str = Field(
        "",
        description="Why `force` or `replace` may touch what others have set; shown in the plan.",
    )
    field_manager: str = Field(
        "gpurun",
        pattern=r"^gpurun(-[a-z0-9]+)*$",
        examples=["gpurun-sharing"],
        description="Who owns the fields given: another name (`gpurun-sharing`) where two playbooks"
        " set different fields of one object, so that neither removes the other's.",
    )
    wait_rollout: bool = Field(
        True,
        description="Wait until the pods of a DaemonSet, Deployment or StatefulSet are all new and"
        " available.",
    )
    timeout: float = Field(300.0, gt=0, description="Seconds for the rollout or the deletion.")

    @field_validator("definition")
    @classmethod
    def _is_an_object(cls, item: dict[str, Any] | None) -> dict[str, Any] | None:
        if item is not None:
            check_manifest(item)
        return item

    @field_validator("prune")
    @classmethod
    def _is_a_selector(cls, text: str) -> str:
        for part in text.split(",") if text else ():
            key, equals, value = part.strip().partition("=")
            problem = label_name_problem(key) or label_value_problem(value)
            if problem or not equals or not value:
                raise ValueError(f"prune: {problem or f'{part!r} is not key=value'}")
        return text.replace(" ", "")

    @model_validator(mode="after")
    def _one_source(self) -> KubernetesObjectArguments:
        given = [self.definition is not None, bool(self.src), bool(self.template)]
        if sum(given) != 1:
            raise ValueError("give one of definition, src and template")
        if self.prune and self.state == "absent":
            raise ValueError("prune is about applying: leave it out with state absent")
        return self

    @model_validator(mode="after")
    def _force_applies(self) -> KubernetesObjectArguments:
        given = "force" if self.force else "replace" if self.replace else ""
        if self.force and self.replace:
            raise ValueError("replace leaves nothing to take over: leave force out")
        if given and self.state == "absent":
            raise ValueError(f"{given} is about applying: leave it out with state absent")
        if given and not self.because.strip():
            raise ValueError(f"{given} touches what others have set: say why with because")
        return self


class KubernetesObject(Module[KubernetesObjectArguments]):
    """Applies objects to the host's cluster, or deletes them.

    Server-side apply with the field manager `gpurun`: only the fields given are set, those given
    no more are removed, and fields of other managers are left alone; one that another manager
    holds with a different value is a conflict that names it (`force` takes it over, and needs a
    `because`). `replace` writes the whole object instead, as `kubectl replace`, which is high risk
    for one that exists. The plan is the server's own answer to a dry run of the same request, with
    strict field validation, so that defaults and admission are in the diff and misspelt fields are
    errors.

    A file of several objects (`src`, `template`) is applied in its order, all of it planned before
    anything is done; with `prune` what it gives no more is deleted.

    The object belongs to the cluster: the first host that comes to it applies it, and the other
    hosts of the run find it as wanted. Its namespace has to exist. Applying is medium risk,
    deleting high; neither drains a node by itself. An object as wanted whose rollout is not over,
    as after a run that failed or was stopped, is a change too: the rollout is waited for.
    """

    name = "kubernetes_object"
    arguments = KubernetesObjectArguments
    risk = Risk.HIGH
    examples = (
        """\
- name: all of the monitoring, and nothing that is left of an older version
  kubernetes_object:
    template: monitoring.yaml.j2
    prune: app.kubernetes.io/part-of=gpu-monitoring
""",
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
        found = _manifests(args, context)
        queries = [_query(args, item) for item in found] + _pruning(args, found)
        return tuple(ClusterProbe(_key(query), query) for query in queries)

    def plan(
        self, args: KubernetesObjectArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        timeout = context.seconds(args.timeout)
        manifests = _manifests(args, context)
        outcomes = [
            _one(args, item, observed[_key(_query(args, item))], timeout, _made(manifests[:number]))
            for number, item in enumerate(manifests)
        ]
        for query in _pruning(args, manifests):
            outcomes.append(_pruned(args, query, observed[_key(query)], manifests, timeout))
        return Outcome(
            changes=tuple(change for outcome in outcomes for change in outcome.changes),
            waits=tuple(wait for outcome in outcomes for wait in outcome.waits),
        )


def _manifests(args: KubernetesObjectArguments, context: Context) -> tuple[dict[str, Any], ...]:
    if args.definition is not None:
        return (args.definition,)
    return read_manifests(args.src or args.template, bool(args.template), context)


def _made(before: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Namespaces that objects earlier in the same file make."""
    return frozenset(item["metadata"]["name"] for item in before if item["kind"] == "Namespace")


def _one(
    args: KubernetesObjectArguments,
    manifest: Mapping[str, Any],
    state: ObjectState,
    timeout: float,
    made: frozenset[str],
) -> Outcome:
    """What one object needs."""
    query = _query(args, manifest)
    if args.state == "absent":
        return _absent(query, state, timeout)
    if state.refused and state.live is None and manifest["metadata"].get("namespace") in made:
        state = ObjectState(None, manifest)  # the server can be asked once the namespace is there
    if state.refused:
        raise Refused(f"{full_name(manifest)}: {_taught(state.refused)}")
    rollout = None
    if args.wait_rollout and manifest["kind"] in ROLLED_OUT:
        rollout = WaitRollout(query.manifest, timeout)
    if state.wanted:
        return _rolling(query, state, rollout)
    seen = visible(state.live)
    change = Change(
        summary=_summary(args, manifest, state),
        do=(ApplyObject(query, seen, rollout),),
        risk=Risk.HIGH if args.replace and state.live is not None else Risk.MEDIUM,
        diff=_diff(manifest, seen, visible(state.applied)),
        overlay={_key(query): _applied(state)},
    )
    return Outcome(changes=(change,))


def _rolling(query: ObjectQuery, state: ObjectState, rollout: WaitRollout | None) -> Outcome:
    """A rollout that began earlier and is not over is waited for: what a run that failed or was
    stopped has begun is not taken for done by the next one."""
    live = state.live or {}
    lacking = not_rolled_out(live) if rollout and not state.rolled_out else ""
    if rollout is None or not lacking:
        return Outcome()
    change = Change(
        summary=f"wait for the rollout of {full_name(live)}: {lacking}",
        do=(rollout,),
        risk=Risk.LOW,
        overlay={_key(query): _applied(state)},
    )
    return Outcome(changes=(change,))


def _applied(state: ObjectState) -> ObjectState:
    """The object once that is done."""
    return ObjectState(state.applied, state.applied, rolled_out=True)


def _pruning(
    args: KubernetesObjectArguments, manifests: Sequence[Mapping[str, Any]]
) -> list[ObjectQuery]:
    """One look for each kind and namespace that is given: what has the labels."""
    if not args.prune:
        return []
    labels = dict(part.split("=") for part in args.prune.split(","))
    for item in manifests:
        if not labels.items() <= (item["metadata"].get("labels") or {}).items():
            raise Refused(
                f"{full_name(item)} has not the labels {args.prune}: the next run would not know "
                "that it was given here; add them to metadata.labels"
            )
    places = dict.fromkeys(
        (item["apiVersion"], item["kind"], item["metadata"].get("namespace", ""))
        for item in manifests
    )
    return [
        ObjectQuery(
            {"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace}},
            dry_run=False,
            selector=args.prune,
        )
        for version, kind, namespace in places
    ]


def _pruned(
    args: KubernetesObjectArguments,
    asked: ObjectQuery,
    state: ObjectState,
    manifests: Sequence[Mapping[str, Any]],
    timeout: float,
) -> Outcome:
    """Deletions of what has the labels, was applied by us, and is given no more."""
    wanted = {full_name(item) for item in manifests}
    changes: list[Change] = []
    for item in (state.live or {}).get("items", ()):
        head = {key: asked.manifest[key] for key in ("apiVersion", "kind")}
        live = {**head, **item}
        owners = {entry["manager"] for entry in item["metadata"].get("managedFields") or ()}
        if full_name(live) in wanted or args.field_manager not in owners:
            continue
        meta = {k: item["metadata"][k] for k in ("name", "namespace") if k in item["metadata"]}
        query = ObjectQuery({**head, "metadata": meta}, dry_run=False)
        changes += _absent(query, ObjectState(live), timeout).changes
    return Outcome(changes=tuple(changes))


def _summary(
    args: KubernetesObjectArguments, manifest: Mapping[str, Any], state: ObjectState
) -> str:
    verb = "create" if state.live is None else "replace" if args.replace else "apply"
    why = f" (because: {args.because})" if args.because and state.live is not None else ""
    return f"{verb} {full_name(manifest)}{why}"


def _query(args: KubernetesObjectArguments, manifest: Mapping[str, Any]) -> ObjectQuery:
    present = args.state == "present"
    return ObjectQuery(manifest, args.force, present, args.replace, args.field_manager)


def _key(query: ObjectQuery) -> str:
    """The dry run's answer depends on the manifest, so its digest is part of the key."""
    how = [query.force, query.dry_run, query.replace, query.manager, query.selector]
    asked = json.dumps([query.manifest, *how], sort_keys=True, default=str)
    digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
    name = query.manifest["kind"] if query.selector else full_name(query.manifest)
    return f"kubernetes:{name}:{digest}"


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
        return f"{refused}; force: true, with because, takes the fields over"
    if refused.startswith("namespace "):
        return f"{refused}: create it first"
    return refused
