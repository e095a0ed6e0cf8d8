"""The taint that a node has while a run keeps it out of service, and which taint is ours. Pure.

Beside the cordon it keeps off pods that tolerate the cordon, and tells other programs. A pod that
runs stays: `NoExecute` is not offered, as it would end pods without asking their budgets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runner.errors import ClusterError
from runner.kube.parse import Pod
from runner.kube.state import NodeState, SetTaint

TAINTED = "gpurun.dev/tainted"
"""Annotation of a node: the run that tainted it, and with what."""
RESERVED = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Beginnings of keys of taints that the control plane sets and removes itself."""
EFFECTS = ("NoSchedule", "PreferNoSchedule")


def parse_taint(text: str) -> SetTaint:
    """`key=value:Effect`, as kubectl writes it; the value may be left out."""
    named, _, effect = text.rpartition(":")
    key, _, value = named.partition("=")
    return SetTaint(key, effect, value)


def there(node: NodeState, taint: SetTaint) -> str:
    """The node's taint of the same key and effect, whatever its value: it can have only one."""
    known = map(parse_taint, node.taints)
    same = (t.text for t in known if (t.key, t.effect) == (taint.key, taint.effect))
    return next(same, "")


def tainted(node: NodeState) -> tuple[str, SetTaint | None]:
    """The run that tainted the node, and its taint; ("", None) where none did.

    Raises:
        ClusterError: the annotation cannot be read.
    """
    text = node.annotations.get(TAINTED)
    if text is None:
        return "", None
    try:
        note = json.loads(text)
        return str(note["run"]), parse_taint(str(note["taint"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"node {node.name}: annotation {TAINTED} cannot be read: {text[:80]!r}",
            "set the node's taints as they should be and remove the annotation",
        ) from error


def mark(run: str, taint: SetTaint) -> dict[str, str]:
    """The annotation by which the run knows its taint again."""
    return {TAINTED: json.dumps({"run": run, "taint": taint.text}, sort_keys=True)}


def to_set(node: NodeState, text: str) -> SetTaint | None:
    """What a run has to set on a node that it takes out of service; None: nothing.

    A taint of the same key and effect is somebody else's, or ours already: it stays as it is. A run
    that goes on does not set again what somebody has taken away meanwhile.
    """
    taint = parse_taint(text) if text else None
    return None if taint is None or TAINTED in node.annotations or there(node, taint) else taint


def to_remove(node: NodeState, run: str) -> SetTaint | None:
    """What that run has to take away again; None where the taint is no longer as it set it."""
    by, taint = tainted(node)
    if taint is None or by != run or taint.text not in node.taints:
        return None
    return replace(taint, present=False)


def previewed(node: NodeState, text: str) -> str:
    """What a plan says of the taint; "" where none is wanted."""
    if not text:
        return ""
    if to_set(node, text):
        return f"taints the node with {text} until it is given back"
    kept = there(node, parse_taint(text))
    return f"the node has the taint {kept} already" if kept else f"{text} is not set a second time"


def kept_off(taint: SetTaint, pods: Iterable[Pod]) -> list[str]:
    """DaemonSets (namespace/name) with pods on the node that could not be started there anew."""
    if taint.effect != "NoSchedule":
        return []
    return sorted(
        {
            f"{pod.state.namespace}/{pod.state.owner_name}"
            for pod in pods
            if pod.state.owner_kind == "DaemonSet" and not _tolerates(pod, taint)
        }
    )


def _tolerates(pod: Pod, taint: SetTaint) -> bool:
    return any(_covers(toleration, taint) for toleration in pod.tolerations)


def _covers(toleration: Mapping[str, Any], taint: SetTaint) -> bool:
    """ToleratesTaint of k8s.io/api/core/v1/toleration.go: without a key all, without an effect
    every one."""
    if toleration.get("effect") not in (None, "", taint.effect):
        return False
    if toleration.get("key") not in (None, "", taint.key):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return (toleration.get("value") or "") == taint.value
