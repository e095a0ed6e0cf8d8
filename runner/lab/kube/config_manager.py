"""NVIDIA's config-manager beside a device plugin of the lab: what a node's label picks.

It watches the node's label, and nothing else: new data under the same key reach the plugin only
when its pod starts. Source: k8s-device-plugin, cmd/config-manager/main.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from runner.lab.kube.authorization import ACCOUNT, Access, allowed
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.requests import User
from runner.lab.kube.store import Store

LABEL = "nvidia.com/device-plugin.config"
_COMMAND = "config-manager"


def sidecar(pod: Json) -> Json | None:
    """The container that watches the label; None in a plugin without one."""
    for container in pod["spec"]["containers"]:
        if _COMMAND in (container.get("command") or ()):
            return dict(container)
    return None


def picked(store: Store, node: str, pod: Json) -> tuple[str, str]:
    """(key, text) of the configuration for the node, as it is now; ("", "") is the empty one.

    Raises:
        ValueError: config-manager ends with an error; its own words.
    """
    container = sidecar(pod) or {}
    variables = {e["name"]: str(e.get("value") or "") for e in container.get("env") or ()}
    namespace = pod["metadata"]["namespace"]
    account = f"{ACCOUNT}{namespace}:{pod['spec'].get('serviceAccountName') or 'default'}"
    if not allowed(store, User(account, bound=True), Access("watch", "", "nodes")):
        raise ValueError(f'User "{account}" cannot watch resource "nodes"')
    item = store.get(KIND["Node"], "", node) or {"metadata": {}}
    label = variables.get("NODE_LABEL") or LABEL
    files = _files(store, pod, container, variables.get("CONFIG_FILE_SRCDIR", ""))
    wanted = (item["metadata"].get("labels") or {}).get(label, "")
    wanted = wanted or variables.get("DEFAULT_CONFIG", "")
    key = wanted or _fallback(files, variables.get("FALLBACK_STRATEGIES", ""))
    if key and key not in files:
        raise ValueError(f"specified config {key} does not exist")
    return key, files.get(key, "version: v1\n")


def _files(store: Store, pod: Json, container: Json, folder: str) -> Mapping[str, str]:
    """The keys of the ConfigMap that is mounted at the folder."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        source = volumes.get(mount["name"], {}).get("configMap")
        if source and mount["mountPath"] == folder:
            found = store.get(KIND["ConfigMap"], pod["metadata"]["namespace"], source["name"])
            files = (found or {}).get("data") or {}
            if files:
                return dict(files)
    raise ValueError("no configuration files available")


def _fallback(files: Mapping[str, str], strategies: str) -> str:
    """What a node without a label gets, where no default is named."""
    for strategy in filter(None, strategies.split(",")):
        if strategy == "named" and "default" in files:
            return "default"
        if strategy == "single" and len(files) == 1:
            return next(iter(files))
        if strategy == "empty":
            return ""
    raise ValueError("no config was set, no default was provided, and all fallbacks failed")
