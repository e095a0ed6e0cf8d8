"""What the API server looks up before it takes a pod: its RuntimeClass and its priority class."""

from __future__ import annotations

from collections.abc import Mapping

from runner.lab.kube.failures import no_priority_class, no_runtime_class
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.store import Store

_PRIORITIES: Mapping[str, int] = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
"""The priority classes that every cluster has; the lab has no others."""


def admit(store: Store, pod: Json) -> Json:
    """The pod with what its priority class says.

    Raises:
        ApiFailure: 403 when it names a class there is not.
    """
    spec, name = pod["spec"], pod["metadata"]["name"]
    runtime = spec.get("runtimeClassName")
    if runtime and store.get(KIND["RuntimeClass"], "", runtime) is None:
        raise no_runtime_class(name, runtime)
    priority = spec.get("priorityClassName")
    if not priority:
        return pod
    if priority not in _PRIORITIES:
        raise no_priority_class(name, priority)
    return {**pod, "spec": {**spec, "priority": _PRIORITIES[priority]}}
