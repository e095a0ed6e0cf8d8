"""DaemonSets and the node labels that place them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.kube.parse import Json, understood


@dataclass(frozen=True, slots=True)
class DaemonSet:
    """One apps/v1 DaemonSet. `selector`: node labels that its pods want."""

    full_name: str
    uid: str
    selector: Mapping[str, str] = field(default_factory=dict)


def parse_daemonset(item: Json) -> DaemonSet:
    """An apps/v1 DaemonSet. Raises ClusterError when it is not one."""
    return understood(_daemonset, item, "DaemonSet")


def _daemonset(item: Json) -> DaemonSet:
    meta = item["metadata"]
    template = (item.get("spec") or {}).get("template") or {}
    selector = (template.get("spec") or {}).get("nodeSelector") or {}
    return DaemonSet(f"{meta['namespace']}/{meta['name']}", str(meta["uid"]), dict(selector))
