"""Resource claims (dynamic resource allocation) that hold GPUs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.kube.api import Api, Json, RefusalError, UnservedError
from runner.kube.parse import Pod, understood

GROUP = "/apis/resource.k8s.io"
DRIVER = "gpu.nvidia.com"


@dataclass(frozen=True, slots=True)
class GpuClaims:
    """The claims with a GPU allocated. `unknown`: why they could not be read; then all count."""

    names: frozenset[str] = frozenset()
    unknown: str = ""

    def held_by(self, pod: Pod) -> bool:
        """Whether a claim of the pod holds a GPU, as far as it is known."""
        return any(
            self.unknown or claim.endswith("/") or claim in self.names for claim in pod.claims
        )


def read_gpu_claims(api: Api) -> GpuClaims:
    """All claims of the cluster for which NVIDIA's DRA driver has allocated a GPU.

    The version is the one that the server prefers: v1 since Kubernetes 1.34, v1beta1 before; what
    is read here is the same in both.
    """
    try:
        group = api.get(GROUP, "look for resource claims")
        version = str(understood(lambda g: g["preferredVersion"]["version"], group, "API group"))
        items = api.collection(f"{GROUP}/{version}/resourceclaims", "list ResourceClaims")
    except RefusalError as error:
        return GpuClaims(unknown=error.said or error.message)
    except UnservedError as error:
        return GpuClaims(unknown=error.message)
    return GpuClaims(frozenset(_gpus(items)))


def _gpus(items: Iterable[Json]) -> Iterable[str]:
    for item in items:
        name, drivers = understood(_claim, item, "ResourceClaim")
        if DRIVER in drivers:
            yield name


def _claim(item: Json) -> tuple[str, frozenset[str]]:
    meta = item["metadata"]
    allocation = (item.get("status") or {}).get("allocation") or {}
    results = (allocation.get("devices") or {}).get("results") or []
    return f"{meta['namespace']}/{meta['name']}", frozenset(str(r["driver"]) for r in results)
