"""What a node had before its driver was changed: kept on the node, so that an interrupted change
can be finished, and a finished one taken back, by another run of gpurun.

Two files under `/var/lib/gpurun/driver`: `gpus.json`, the GPUs' MIG geometry and persistence mode
and the services of the driver, is there as long as they are not as before again; `previous.json`,
the driver's packages before the last change of version that was begun, stays.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from runner.facts.base import Fact, plain
from runner.facts.driver_packages import source_of
from runner.facts.nvidia import GPUS, Gpu, Gpus, parse_gpus
from runner.hosts.script import Command, Result
from runner.modules.base import Probe, Unknown

FOLDER = "/var/lib/gpurun/driver"
BEFORE_KEY, PREVIOUS_KEY = "driver:before", "driver:previous"
GPUS_SEEN_KEY, SERVICES_KEY = "driver:gpus", "driver:services"

KEYS = {"gpus.json": BEFORE_KEY, "previous.json": PREVIOUS_KEY}
"""File -> the key of the probe that reads it."""

SERVICES = (
    "nvidia-persistenced",
    "nvidia-fabricmanager",
    "nvidia-imex",
    "nvidia-dcgm",
    "dcgm",
    "dcgm-exporter",
    "nvidia-dcgm-exporter",
    "nvsm",
    "nvsm-core",
    "nvidia-mig-manager",
    "display-manager",
)
"""Units that hold the driver, in the order in which they are started."""


@dataclass(frozen=True, slots=True)
class GpuBefore:
    """One GPU. `mig`: None where it has no MIG, "off", or profile -> number of instances."""

    index: int
    uuid: str
    product: str
    pci: str
    device: str
    mig: Literal["off"] | dict[str, int] | None
    persistence: bool | None


@dataclass(frozen=True, slots=True)
class Before:
    """A node whose driver is being changed, as it was before."""

    gpus: tuple[GpuBefore, ...]
    services: tuple[str, ...]
    """The driver's services that were active."""
    boot_id: str
    xids: int | None
    """Lines with an Xid in the kernel log of that boot, without 154, which is the driver's word
    about others; None: it could not be read."""


@dataclass(frozen=True, slots=True)
class Previous:
    """The driver before the last change of version that was begun.

    `packages`: part -> full package version.
    """

    version: str
    flavour: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Services:
    """The driver's services that are active, and what of the driver the kernel shows.

    Args:
        modules: loaded modules of NVIDIA's and nouveau.
        xids: as in `Before`.
    """

    active: tuple[str, ...]
    modules: tuple[str, ...] = ()
    xids: int | None = None


def before_probe(become: bool = True) -> Probe:
    return Probe(BEFORE_KEY, _read("gpus.json"), parse_before, become=become)


def previous_probe(become: bool = True) -> Probe:
    return Probe(PREVIOUS_KEY, _read("previous.json"), parse_previous, become=become)


def _read(name: str) -> str:
    return f"[ ! -e {FOLDER}/{name} ] || cat {FOLDER}/{name}"


T = TypeVar("T", Before, Previous)


def _parsed(result: Result, name: str, kind: type[T]) -> T | None:
    """One of the two files; None where it is not there. Raises Unknown for any other content."""
    from pydantic import TypeAdapter, ValidationError

    what = f"{FOLDER}/{name}"
    if result.rc != 0 or result.truncated:
        raise Unknown(f"{what} cannot be read: {result.error_text[-200:]}")
    if not result.text.strip():
        return None
    try:
        return TypeAdapter(kind).validate_json(result.stdout)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{where}: {first['msg']}" if where else first["msg"]
        raise Unknown(f"{what} is not understood ({why}); look at it, then remove it") from None


def parse_before(result: Result) -> Before | None:
    """None: nothing is being changed."""
    return _parsed(result, "gpus.json", Before)


def parse_previous(result: Result) -> Previous | None:
    """None: gpurun has not changed the driver's version here."""
    return _parsed(result, "previous.json", Previous)


def keep(name: str, value: Before | Previous, become: bool = True) -> Command:
    """Write one of the two files, whole or not at all."""
    path = f"{FOLDER}/{name}"
    shell = (
        f"umask 077; mkdir -p {FOLDER} && cat >{path}.new && sync {path}.new && "
        f"mv -f {path}.new {path}"
    )
    body = json.dumps(plain(value), indent=1, sort_keys=True) + "\n"
    return Command(f"keep {name}", shell, body.encode(), become=become)


def gpus_seen_probe(become: bool = True) -> Probe:
    """The GPUs, or None where nvidia-smi cannot show them: with a driver that does not work."""
    assert GPUS.probe is not None
    return Probe(GPUS_SEEN_KEY, GPUS.probe.shell, parse_gpus_seen, 60.0, become=become)


def parse_gpus_seen(result: Result) -> Gpus | None:
    try:
        found = parse_gpus(result)
    except Unknown:
        return None
    return found or None


def gpus_after_boot() -> Unknown:
    """In place of the GPUs in a plan, behind a reboot."""
    return Unknown("a boot loses MIG instances; what the GPUs are like is seen after it")


def services_probe(become: bool = True) -> Probe:
    return Probe(SERVICES_KEY, _SERVICES_LOOK, parse_services, become=become)


_SERVICES_LOOK = f"""\
export LC_ALL=C
if [ -d /run/systemd/system ]; then
  for s in {" ".join(SERVICES)}; do ! systemctl is-active -q "$s" || echo "active $s"; done
fi
lsmod | sed -n 's/^\\(nvidia[^ ]*\\|nouveau\\|gdrdrv\\) .*/module \\1/p'
if log=$(dmesg 2>/dev/null); then
  echo "xids $(printf '%s\\n' "$log" | grep 'NVRM: Xid' | grep -vc '): 154,')"
fi
exit 0
"""


def parse_services(result: Result) -> Services:
    if result.rc != 0 or result.truncated or result.timed_out:
        raise Unknown(f"the driver's services are not known: {result.error_text[-200:]}")
    words = [line.partition(" ")[::2] for line in result.text.splitlines()]
    counts = [int(rest) for word, rest in words if word == "xids" and rest.isdigit()]
    return Services(
        tuple(rest for word, rest in words if word == "active"),
        tuple(rest for word, rest in words if word == "module"),
        counts[0] if counts else None,
    )


def before(gpus: Sequence[Gpu], services: Services, boot_id: str) -> Before:
    """What to keep of a node that is as it should be."""
    return Before(tuple(map(_gpu, gpus)), services.active, boot_id, services.xids)


def _gpu(gpu: Gpu) -> GpuBefore:
    mig: Literal["off"] | dict[str, int] | None = None
    if gpu.mig_mode_current is not None:
        counts = dict(Counter(one.profile for one in gpu.instances))
        mig = counts if gpu.mig_mode_current else "off"
    return GpuBefore(
        gpu.index, gpu.uuid, gpu.product, gpu.pci, gpu.device, mig, gpu.persistence_mode
    )


def _export(value: Before | Previous | None) -> dict[str, Any]:
    found: dict[str, Any] = plain(value) if value else {}
    return found | ({"source": source_of(value.packages)} if isinstance(value, Previous) else {})


GPUS_BEFORE = Fact(
    "gpus_before",
    "What the node had before its driver was changed; empty once all is as it was",
    before_probe(),
    _export,
    (
        ("gpus", "list", "Each GPU: `index`, `uuid`, `product`, `pci`, `mig`, `persistence`."),
        ("services", "list", "The driver's services that were active."),
        ("boot_id", "text", "The boot in which that was."),
        ("xids", "number or none", "Lines with an Xid in the kernel log of that boot."),
    ),
)

DRIVER_PREVIOUS = Fact(
    "driver_previous",
    "The driver before gpurun last changed its version; empty: it never did",
    previous_probe(),
    _export,
    (
        ("version", "text", "Such as `550.90.07`."),
        ("flavour", "text", "`open` or `proprietary`."),
        ("source", "text", "Whose packages: `ubuntu` or `cuda`."),
        ("packages", "mapping", "Package to full version."),
    ),
)
