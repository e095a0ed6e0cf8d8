"""What NVIDIA's device plugin offers of GPUs that are cut (k8s-device-plugin, "MIG strategies")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from runner.facts.nvidia import Gpu

GPU = "nvidia.com/gpu"


def resources(before: Sequence[Gpu], after: Sequence[Gpu]) -> dict[str, dict[str, int]]:
    """Strategy -> resource -> how many the node will offer.

    `mixed` names each profile, those that are only there before with 0. `single` calls every
    instance a GPU; it is empty where the plugin would not start: GPUs with and without MIG, without
    an instance, or of different profiles.
    """
    cut = [gpu for gpu in after if gpu.mig_mode_current]
    whole = len(after) - len(cut)
    counts = Counter(one.profile for gpu in cut for one in gpu.instances)
    gone = {one.profile for gpu in before for one in gpu.instances} - counts.keys()
    mixed = {GPU: whole, **dict.fromkeys(map(resource, sorted(gone)), 0)}
    mixed |= {resource(name): counts[name] for name in sorted(counts)}
    alike = not cut or (not whole and len(counts) == 1 and all(gpu.instances for gpu in cut))
    single = {GPU: whole or counts.total()} if alike else {}
    return {"single": single, "mixed": mixed}


def resource(profile: str) -> str:
    """ "1g.10gb+me" -> "nvidia.com/mig-1g.10gb.me"."""
    return f"nvidia.com/mig-{profile.replace('+', '.')}"
