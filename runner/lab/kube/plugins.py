"""The device plugins of the lab: which pod is one, and what it advertises when it starts."""

from __future__ import annotations

import json
from collections.abc import Mapping

from runner.lab.kube import config_manager, gpus
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.nodes import NVIDIA, SimulatedNode
from runner.lab.kube.store import Store

_NVIDIA_IMAGE, _RDMA_IMAGE = "k8s-device-plugin", "k8s-rdma-shared-dev-plugin"
_RDMA_FOLDER, _RDMA_FILE = "/k8s-rdma-shared-dev-plugin", "config.json"
_MPS_DAEMON = "mps-control-daemon"
RDMA = "rdma/"


def prefix(pod: Json) -> str:
    """What the resources of this device plugin begin with; "": the pod is none."""
    if has_image(pod, _NVIDIA_IMAGE) and not is_mps_daemon(pod):
        return NVIDIA
    return RDMA if has_image(pod, _RDMA_IMAGE) else ""


def has_image(pod: Json, image: str) -> bool:
    return any(image in container.get("image", "") for container in pod["spec"]["containers"])


def is_mps_daemon(pod: Json) -> bool:
    """The daemon that shares GPUs by MPS comes in the plugin's own image."""
    commands = [container.get("command") or () for container in pod["spec"]["containers"]]
    return any(_MPS_DAEMON in command for command in commands)


def offered(store: Store, node: SimulatedNode, pod: Json) -> Mapping[str, int] | None:
    """What a device plugin that starts now advertises; None while it cannot start: its ConfigMap
    is missing or wrong. It reads the ConfigMap only then, and again while it waits for the MPS
    daemon, without which it offers nothing: {}."""
    try:
        return _rdma(store, pod) if prefix(pod) == RDMA else _nvidia(store, node, pod)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _nvidia(store: Store, node: SimulatedNode, pod: Json) -> Mapping[str, int] | None:
    physical = gpus.resources(node, strategy(pod))
    config = _config(store, node, pod)
    if config is None:
        return physical
    if gpus.shares_by_mps(config) and not _mps_runs(store, node):
        return {}
    return gpus.shared(physical, config)


def _config(store: Store, node: SimulatedNode, pod: Json) -> str | None:
    """The configuration that the plugin would read now; None: it is given none."""
    if config_manager.sidecar(pod) is not None:
        return config_manager.picked(store, node.name, pod)[1]
    source = gpus.config_source(pod)
    return None if source is None else _data(store, pod, *source)


def picked(store: Store, node: SimulatedNode, pod: Json) -> str | None:
    """The name of the configuration that config-manager picks now, where it can."""
    try:
        return config_manager.picked(store, node.name, pod)[0]
    except ValueError:
        return None


def _mps_runs(store: Store, node: SimulatedNode) -> bool:
    return any(
        is_mps_daemon(pod) and pod["status"].get("phase") == "Running"
        for pod in store.list(KIND["Pod"])
        if pod["spec"].get("nodeName") == node.name
    )


def _rdma(store: Store, pod: Json) -> Mapping[str, int]:
    """As its config.json says (k8s-rdma-shared-dev-plugin, README): both fields are mandatory."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    (container,) = pod["spec"]["containers"]
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == _RDMA_FOLDER]
    config = json.loads(_data(store, pod, volumes[mount["name"]]["configMap"]["name"], _RDMA_FILE))
    return {
        f"{entry.get('resourcePrefix', 'rdma')}/{entry['resourceName']}": int(entry["rdmaHcaMax"])
        for entry in config["configList"]
    }


def _data(store: Store, pod: Json, name: str, key: str) -> str:
    config = store.get(KIND["ConfigMap"], pod["metadata"]["namespace"], name)
    return str((config or {})["data"][key])


def strategy(pod: Json) -> str:
    """The device plugin's MIG_STRATEGY; the plugin's own default is none."""
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", ()):
            if variable["name"] == "MIG_STRATEGY":
                return str(variable.get("value") or "none")
    return "none"
