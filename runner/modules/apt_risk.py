"""How much changing a package matters on a GPU node."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from runner.modules.base import Disruption, Risk

_RISKS: tuple[tuple[tuple[str, ...], Risk, Disruption], ...] = (
    (
        # Replacing the user-space driver breaks NVML until the kernel module matches again.
        (
            "nvidia-driver-*",
            "nvidia-open*",
            "nvidia-headless-*",
            "nvidia-dkms-*",
            "nvidia-kernel-*",
            "nvidia-utils-*",
            "nvidia-compute-utils-*",
            "nvidia-fabricmanager*",
            "nvidia-imex*",
            "libnvidia-compute*",
            "libnvidia-cfg1*",
            "libnvidia-nscq*",
            "libcuda1*",
            "cuda-drivers*",
            "linux-modules-nvidia-*",
            # Names in NVIDIA's repository for RHEL.
            "nvidia-driver",
            "kmod-nvidia*",
            "nvidia-kmod*",
            "nvidia-fabric-manager*",
            "libnvidia-ml*",
        ),
        Risk.HIGH,
        Disruption.GPU,
    ),
    (("nvidia-container-*", "libnvidia-container*"), Risk.MEDIUM, Disruption.NONE),
    (
        # Their maintainer scripts restart the daemon.
        ("containerd", "containerd.io", "runc", "docker*", "cri-o*", "kubelet"),
        Risk.MEDIUM,
        Disruption.SERVICE,
    ),
)


def consequences(names: Iterable[str]) -> tuple[Risk, Disruption]:
    """The most that changing these packages can do."""
    hits = [
        (risk, disruption)
        for name in names
        for patterns, risk, disruption in _RISKS
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]
    risk = max((risk for risk, _ in hits), default=Risk.LOW)
    return risk, max((disruption for _, disruption in hits), default=Disruption.NONE)
