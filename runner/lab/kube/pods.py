"""What a pod of the lab looks like at each stage of its life, as a kubelet reports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.lab.kube import clock
from runner.lab.kube.kinds import Json
from runner.lab.kube.nodes import SimulatedNode
from runner.lab.kube.programs import LOG, Ending
from runner.lab.kube.scheduling import with_condition

GPUS = "lab.gpurun.dev/gpus"
"""Pod annotation: indices of the GPUs it holds."""

WAITS = "lab.gpurun.dev/waits-for-mps"
"""Pod annotation: the device plugin runs, and offers nothing before the MPS daemon does."""

CONFIG = "lab.gpurun.dev/device-plugin-config"
"""Pod annotation: the configuration that config-manager has given the device plugin."""


def configured(config: str, pod: Json) -> Json:
    """config-manager has given the device plugin this configuration."""
    return with_condition(_annotated(pod, CONFIG, config), "Ready", True)


def unconfigured(pod: Json) -> Json:
    """config-manager has ended with an error; the plugin goes on with what it has."""
    return with_condition(pod, "Ready", False, "ContainersNotReady")


def waiting(pod: Json) -> Json:
    """The device plugin waits for the MPS daemon."""
    return _annotated(pod, WAITS, "true")


def served(pod: Json) -> Json:
    """It waits no more."""
    annotations = {k: v for k, v in pod["metadata"]["annotations"].items() if k != WAITS}
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}


def held(pod: Json) -> Sequence[int]:
    """Indices of the GPUs a running pod holds."""
    annotations = pod["metadata"].get("annotations") or {}
    return [int(index) for index in annotations.get(GPUS, "").split(",") if index]


def running(pod: Json, node: SimulatedNode, indices: Sequence[int]) -> Json:
    """The pod's containers have started, with these GPUs."""
    moment = clock.now()
    if indices:
        pod = _annotated(pod, GPUS, ",".join(map(str, indices)))
    started = {"running": {"startedAt": moment}}
    pod = _with(
        pod,
        phase="Running",
        startTime=moment,
        hostIP=node.address,
        containerStatuses=[_container(entry, started, True) for entry in _containers(pod)],
    )
    for type_ in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
        pod = with_condition(pod, type_, True)
    return pod


def finished(pod: Json, ending: Ending) -> Json:
    """The pod's containers have ended by themselves."""
    reason = ending.reason or ("Error" if ending.rc else "Completed")
    ended = {
        "terminated": {"exitCode": ending.rc, "reason": reason, "finishedAt": clock.now()},
    }
    if ending.reason:
        ended["terminated"]["message"] = ending.out
    elif ending.out:
        pod = _annotated(pod, LOG, ending.out)
    states = [_container(entry, ended, False) for entry in _containers(pod)]
    phase = "Failed" if ending.rc else "Succeeded"
    pod = _with(pod, phase=phase, containerStatuses=states)
    for type_ in ("ContainersReady", "Ready"):
        pod = with_condition(pod, type_, False, "PodFailed" if ending.rc else "PodCompleted")
    return pod


def too_late(pod: Json) -> Json:
    """The pod's activeDeadlineSeconds are over."""
    message = "Pod was active on the node longer than the specified deadline"
    pod = _with(pod, phase="Failed", reason="DeadlineExceeded", message=message)
    return with_condition(pod, "Ready", False, "PodFailed")


def rejected(resource: str, wanted: int, available: int, pod: Json) -> Json:
    """The kubelet has not the devices that the pod asks for."""
    why = (
        "Pod was rejected: Allocate failed due to requested number of devices unavailable for "
        f"{resource}. Requested: {wanted}, Available: {available}, which is unexpected"
    )
    return _with(
        pod,
        phase="Failed",
        reason="UnexpectedAdmissionError",
        message=why,
        startTime=clock.now(),
    )


def not_pulled(pod: Json) -> Json:
    """The image cannot be pulled; the kubelet goes on trying."""
    message = f'Back-off pulling image "{pod["spec"]["containers"][0]["image"]}"'
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    states = [_container(entry, waiting, False) for entry in _containers(pod)]
    return _with(pod, containerStatuses=states)


def _with(pod: Json, **status: Any) -> Json:
    return {**pod, "status": {**pod["status"], **status}}


def _annotated(pod: Json, name: str, value: str) -> Json:
    annotations = {**(pod["metadata"].get("annotations") or {}), name: value}
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}


def _containers(pod: Json) -> Sequence[Json]:
    return list(pod["spec"]["containers"])


def _container(container: Json, state: Json, ready: bool) -> Json:
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": container.get("image", ""),
        "ready": ready,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }
