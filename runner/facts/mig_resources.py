"""What NVIDIA's device plugin offers of GPUs that are cut (k8s-device-plugin, "MIG strategies")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from runner.facts.nvidia import Gpu

GPU = "nvidia.com/gpu"
PREFIX = "nvidia.com/mig-"
Strategy = Literal["single", "mixed"]


def resources(gpus: Sequence[Gpu], strategy: Strategy) -> dict[str, int]:
    """Resource -> how many a node with these GPUs offers.

    `mixed` names each profile: "1g.10gb+me" is nvidia.com/mig-1g.10gb.me. `single` calls every
    instance a GPU; it is empty where the plugin would not start: GPUs with and without MIG, without
    an instance, or of different profiles.
    """
    cut = [gpu for gpu in gpus if gpu.mig_mode_current]
    whole = len(gpus) - len(cut)
    counts = Counter(one.profile for gpu in cut for one in gpu.instances)
    if strategy == "mixed":
        named = {PREFIX + name.replace("+", "."): counts[name] for name in sorted(counts)}
        return {GPU: whole, **named}
    alike = not whole and len(counts) == 1 and all(gpu.instances for gpu in cut)
    return {GPU: whole or counts.total()} if alike or not cut else {}
