"""GPUs and their driver as nvidia-smi and the kernel show them.

Unknown stays unknown: nvidia-smi's "[N/A]", "N/A" and relatives become None, never 0 or False, and
output that cannot be understood raises `Unknown`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from typing import Any

from runner.facts.base import Fact, plain
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

GPUS_KEY = "nvidia:gpus"
DRIVER_KEY = "nvidia:driver"


@dataclass(frozen=True, slots=True)
class Instance:
    """A GPU instance. `placement` is "start:size"; `compute` names its compute instances: one
    named like the profile is the whole instance, "1c.3g.20gb" a part."""

    profile: str
    placement: str
    id: int
    compute: tuple[str, ...] = ()

    @property
    def start(self) -> int:
        return int(self.placement.partition(":")[0])

    @property
    def whole(self) -> bool:
        """It has exactly one compute instance, of its full size."""
        return self.compute == (self.profile,)


@dataclass(frozen=True, slots=True)
class Process:
    """A process with a context on a GPU, as nvidia-smi shows it; monitors are not shown."""

    pid: int
    name: str
    instance: int | None = None
    """GPU instance id."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Args:
        pci: bus id as nvidia-smi prints it, "00000000:07:00.0".
        device: PCI device id, upper case hex ("2330"); "" unknown.
        memory: MiB; None unknown.
        mig_capable: None where nvidia-smi does not say.
        mig_mode_current, mig_mode_pending: True enabled, False disabled, None not available.
        driver: version that the report is of; "" unknown.
        persistence_mode, ecc_mode_current, ecc_mode_pending: as the MIG modes.
        ecc_uncorrected: uncorrectable memory errors since the driver was loaded; None unknown.
        recovery_action: what the driver asks for: "None", "Reset", "Reboot", "Drain P2P" or "Drain
            and Reset"; None where it does not say.
        minor: number of its device file, /dev/nvidia0; None unknown.
        fabric: how far it has registered with the fabric manager of its NVSwitches: "Completed", or
            what nvidia-smi shows instead ("In Progress"); None where it has no such fabric.
    """

    index: int
    uuid: str
    product: str
    pci: str
    device: str = ""
    memory: int | None = None
    mig_capable: bool | None = None
    mig_mode_current: bool | None = None
    mig_mode_pending: bool | None = None
    instances: tuple[Instance, ...] = ()
    processes: tuple[Process, ...] = ()
    driver: str = ""
    persistence_mode: bool | None = None
    ecc_mode_current: bool | None = None
    ecc_mode_pending: bool | None = None
    ecc_uncorrected: int | None = None
    recovery_action: str | None = None
    minor: int | None = None
    fabric: str | None = None


class Gpus(tuple[Gpu, ...]):
    """The GPUs of a host; `reason` says why there are none."""

    reason: str

    def __new__(cls, gpus: tuple[Gpu, ...] | list[Gpu] = (), reason: str = "") -> Gpus:
        made = super().__new__(cls, gpus)
        made.reason = reason
        return made


_UNAVAILABLE = re.compile(
    r"\[?(N/A|Not Supported|Not Found|Function Not Found|Unknown Error|ERR!|"
    r"Insufficient Permissions|GPU is lost|GPU requires reset|"
    r"Requested functionality has been deprecated)\]?",
    re.I,
)


def value_of(text: str | None) -> str | None:
    """A value as nvidia-smi prints it; None for each of its ways to say that there is none."""
    text = (text or "").strip()
    return None if not text or _UNAVAILABLE.fullmatch(text) else text


def _mode(text: str | None, where: str) -> bool | None:
    value = value_of(text)
    if value is None:
        return None
    if value not in ("Enabled", "Disabled"):
        raise Unknown(f"nvidia-smi -q -x shows {where} as {value!r}, not Enabled or Disabled")
    return value == "Enabled"


_GPUS_SHELL = """\
command -v nvidia-smi >/dev/null 2>&1 || exit 127
report=$(nvidia-smi -q -x) || { rc=$?; printf '%s\\n' "$report"; exit "$rc"; }
printf '%s\\n' "$report"
case $report in
*'<current_mig>Enabled'*)
    printf '%s\\n' '== mig -lgi'
    nvidia-smi mig -lgi
    printf '%s\\n' '== mig -lci'
    nvidia-smi mig -lci
    ;;
esac
exit 0
"""
# The listings exit with 6 when there is nothing to list, so that their text alone is read.

_NO_GPUS = {
    127: "nvidia-smi is not installed",
    9: "the NVIDIA driver is not loaded",
}

_INFOROM_CORRUPT = 14
"""nvidia-smi(1), "RETURN VALUE": its report is whole all the same."""


def parse_gpus(result: Result) -> Gpus:
    """The GPUs of `_GPUS_SHELL`'s output. Raises Unknown for what cannot be read."""
    if result.rc in _NO_GPUS:
        return Gpus(reason=_NO_GPUS[result.rc])
    if result.rc not in (0, _INFOROM_CORRUPT) or result.truncated or result.timed_out:
        raise Unknown(f"nvidia-smi -q -x failed (exit {result.rc}): {result.error_text[:400]}")
    report, listed, lists = result.text.partition("== mig -lgi\n")
    instances, _, compute = lists.partition("== mig -lci\n")
    found = parse_instances(instances, compute) if listed else {}
    driver, elements = _gpu_elements(report)
    made = [
        _gpu(index, element, tuple(found.get(index, ())), driver)
        for index, element in enumerate(elements)
    ]
    if listed:
        for gpu, element in zip(made, elements, strict=True):
            _check_instances(gpu, element.find("mig_devices"))
    return Gpus(made)


def _check_instances(gpu: Gpu, devices: ElementTree.Element | None) -> None:
    """Raises Unknown where the tables and the report do not show the same instances: a row is
    missing, or somebody cuts the GPU at this moment."""
    if devices is None:
        return
    reported = {one.findtext("gpu_instance_id") or "" for one in devices.findall("mig_device")}
    listed = {str(one.id) for one in gpu.instances if one.compute}
    if {text.strip() for text in reported} != listed:
        raise Unknown(
            f"nvidia-smi contradicts itself: -q -x shows the instances {sorted(reported)} of GPU "
            f"{gpu.index}, mig -lgi and -lci show {sorted(listed)}"
        )


_LOST = re.compile(r"^Unable to determine the device handle.*", re.M)


def document_of(report: str) -> str:
    """The XML in what nvidia-smi printed; all of it where there is none. Warnings ("WARNING:
    infoROM is corrupted at gpu …") stand before or after it."""
    start, end = report.find("<?xml"), report.rfind("</nvidia_smi_log>") + len("</nvidia_smi_log>")
    return report[start:end] if 0 <= start < end else report


def _gpu_elements(report: str) -> tuple[str, list[ElementTree.Element]]:
    """The driver's version ("" unknown) and the elements of the GPUs."""
    document = document_of(report)
    if lost := _LOST.search(report.replace(document, "\n")):
        raise Unknown(f"nvidia-smi -q -x: {lost[0]}")
    try:
        log = ElementTree.fromstring(document)
    except ElementTree.ParseError as error:
        first = report.strip().splitlines()[:1]
        raise Unknown(f"nvidia-smi -q -x printed no XML ({error}): {first}") from None
    gpus = log.findall("gpu")
    if (log.findtext("attached_gpus") or "").strip() != str(len(gpus)):
        raise Unknown(
            f"nvidia-smi -q -x says {log.findtext('attached_gpus')} attached GPUs but shows "
            f"{len(gpus)}: one may have fallen off the bus (see dmesg for Xid 79)"
        )
    return value_of(log.findtext("driver_version")) or "", gpus


def _gpu(
    index: int, element: ElementTree.Element, instances: tuple[Instance, ...], driver: str
) -> Gpu:
    uuid = value_of(element.findtext("uuid"))
    product = value_of(element.findtext("product_name"))
    if uuid is None or product is None:
        raise Unknown(f"nvidia-smi -q -x shows GPU {index} without UUID or product name")
    current = _mode(element.findtext("mig_mode/current_mig"), f"current MIG mode of GPU {index}")
    pending = _mode(element.findtext("mig_mode/pending_mig"), f"pending MIG mode of GPU {index}")
    memory = value_of(element.findtext("fb_memory_usage/total"))
    device = value_of(element.findtext("pci/pci_device_id")) or ""
    minor = value_of(element.findtext("minor_number")) or ""
    return Gpu(
        index=index,
        uuid=uuid,
        product=product,
        pci=value_of(element.findtext("pci/pci_bus_id")) or element.get("id") or "",
        device=device.upper().removeprefix("0X")[:4],
        memory=int(memory.split()[0]) if memory else None,
        mig_capable=True if current is not None else _has_no_mig(element),
        mig_mode_current=current,
        mig_mode_pending=pending,
        instances=instances,
        processes=_processes(index, element.find("processes")),
        driver=driver,
        persistence_mode=_mode(
            element.findtext("persistence_mode"), f"persistence mode of GPU {index}"
        ),
        ecc_mode_current=_mode(
            element.findtext("ecc_mode/current_ecc"), f"current ECC mode of GPU {index}"
        ),
        ecc_mode_pending=_mode(
            element.findtext("ecc_mode/pending_ecc"), f"pending ECC mode of GPU {index}"
        ),
        ecc_uncorrected=uncorrected_of(element.find("ecc_errors/volatile")),
        recovery_action=recovery_action_of(element),
        minor=int(minor) if minor.isdecimal() else None,
        fabric=fabric_of(element),
    )


def _has_no_mig(element: ElementTree.Element) -> bool | None:
    """False for a GPU without MIG, which shows N/A for both modes; None for anything else."""
    shown = [element.findtext(f"mig_mode/{which}_mig") for which in ("current", "pending")]
    return False if all((text or "").strip("[] ") == "N/A" for text in shown) else None


def fabric_of(element: ElementTree.Element) -> str | None:
    """The state of the registration; a status other than Success stands behind it."""
    state = value_of(element.findtext("fabric/state"))
    status = value_of(element.findtext("fabric/status"))
    if state is None or state == "Not Supported":
        return None
    return state if status in (None, "Success") else f"{state}: {status}"


def uncorrected_of(volatile: ElementTree.Element | None) -> int | None:
    """The sum of all uncorrectable errors; drivers from R550 on split those of SRAM by kind. None
    where one of them is missing."""
    counts = {
        one.tag: value_of(one.text)
        for one in (() if volatile is None else volatile)
        if one.tag.startswith(("sram_uncorrectable", "dram_uncorrectable"))
    }
    known = [int(count) for count in counts.values() if count is not None and count.isdigit()]
    parts = 2 if "sram_uncorrectable" in counts else 3
    complete = "dram_uncorrectable" in counts and len(counts) == len(known) == parts
    return sum(known) if complete else None


def recovery_action_of(element: ElementTree.Element) -> str | None:
    """As `gpu_recovery_action` says; older drivers have `gpu_reset_status` instead."""
    told = element.findtext("gpu_recovery_action")
    if told is not None:
        return value_of(told)
    reset = value_of(element.findtext("gpu_reset_status/reset_required"))
    drain = value_of(element.findtext("gpu_reset_status/drain_and_reset_recommended"))
    if drain == "Yes":
        return "Drain and Reset"
    if reset == "Yes":
        return "Reset"
    return "None" if (reset, drain) == ("No", "No") else None


def export_gpus(gpus: Gpus) -> list[dict[str, Any]]:
    """The GPUs as plain data, each with its `geometry`: profile -> number of instances."""
    return [
        {**plain(gpu), "geometry": dict(Counter(one.profile for one in gpu.instances))}
        for gpu in gpus
    ]


def _processes(index: int, element: ElementTree.Element | None) -> tuple[Process, ...]:
    said = None if element is None else (element.text or "").strip()
    if element is None or said not in ("", "None"):
        raise Unknown(f"nvidia-smi -q -x says {said or 'nothing'} of the processes of GPU {index}")
    return tuple(_process(one) for one in element.findall("process_info"))


def _process(element: ElementTree.Element) -> Process:
    pid = value_of(element.findtext("pid"))
    if pid is None:
        raise Unknown("nvidia-smi -q -x shows a process without its id")
    gi = value_of(element.findtext("gpu_instance_id"))
    return Process(
        int(pid), value_of(element.findtext("process_name")) or "?", int(gi) if gi else None
    )


_GI_ROW = re.compile(
    r"^\|\s*(?P<gpu>\d+)\s+MIG (?P<name>\S+)\s+\d+\s+(?P<id>\d+)\s+(?P<place>\d+:\d+)\s*\|$", re.M
)
_CI_ROW = re.compile(r"^\|\s*(?P<gpu>\d+)\s+(?P<gi>\d+)\s+MIG (?P<name>\S+)\s+\d+\*?\s+\d+\s", re.M)


def parse_instances(gpu_instances: str, compute_instances: str) -> dict[int, list[Instance]]:
    """GPU index -> its instances, from the texts of `mig -lgi` and `mig -lci`."""
    compute: dict[tuple[str, str], list[str]] = {}
    for row in _CI_ROW.finditer(compute_instances):
        compute.setdefault((row["gpu"], row["gi"]), []).append(row["name"])
    found: dict[int, list[Instance]] = {}
    for row in _GI_ROW.finditer(gpu_instances):
        parts = tuple(compute.get((row["gpu"], row["id"]), ()))
        instance = Instance(row["name"], row["place"], int(row["id"]), parts)
        found.setdefault(int(row["gpu"]), []).append(instance)
    _check_rows("-lgi", gpu_instances, sum(map(len, found.values())), "No GPU instances")
    _check_rows("-lci", compute_instances, sum(map(len, compute.values())), "")
    return found


def _check_rows(command: str, text: str, read: int, none: str) -> None:
    """Raises Unknown unless every row below the heading was read, and if there are none unless it
    says so."""
    _, _, body = text.partition("|==")
    rows = sum(1 for line in body.splitlines()[1:] if line.startswith("|"))
    if rows != read or not (rows or none in text):
        raise Unknown(f"nvidia-smi mig {command} could not be understood: {text.strip()[:400]!r}")


GPUS = Fact(
    "gpus",
    "GPUs with product, UUID, memory, MIG mode, instances and processes; empty without a driver",
    Probe(key=GPUS_KEY, shell=_GPUS_SHELL, parse=parse_gpus, timeout=60.0),
    export_gpus,
    (
        ("index", "number", "As nvidia-smi counts."),
        ("uuid", "text", "`GPU-...`"),
        ("product", "text", "Such as `NVIDIA A100-SXM4-80GB`."),
        ("pci", "text", "Bus id, `00000000:07:00.0`."),
        ("device", "text", "PCI device id in hex, `2330`; empty: unknown."),
        ("memory", "number or none", "MiB."),
        ("mig_capable", "boolean or none", "Whether it has MIG; none: nvidia-smi does not say."),
        ("mig_mode_current", "boolean or none", "Enabled; none: it has no MIG."),
        ("mig_mode_pending", "boolean or none", "After the next reset or reboot."),
        ("geometry", "mapping", "Profile to number of its GPU instances, `1g.10gb: 7`."),
        ("instances", "list", "Each GPU instance: `profile`, `placement`, `id`, `compute`."),
        ("processes", "list", "Each process that uses it: `pid`, `name`, `instance`."),
        ("driver", "text", "Version of the driver that answered."),
        ("persistence_mode", "boolean or none", "Enabled."),
        ("ecc_mode_current", "boolean or none", "Enabled; none: it has no ECC."),
        ("ecc_mode_pending", "boolean or none", "After the next reset or reboot."),
        ("ecc_uncorrected", "number or none", "Uncorrectable errors since the driver was loaded."),
        (
            "recovery_action",
            "text or none",
            "What the driver asks for: `None`, `Reset`, `Reboot`, `Drain P2P`, `Drain and Reset`.",
        ),
        ("minor", "number or none", "Of its device file, `0` of `/dev/nvidia0`."),
        ("fabric", "text or none", "`Completed` once its NVSwitches work; none: it has none."),
    ),
)


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver.

    Args:
        installed: version of the kernel module on disk; "" if there is none.
        loaded: version of the loaded module; "" if none is loaded.
        mismatch: loaded and library or module on disk differ, so that nothing works before a
            reload or reboot; None where that is unknown.
        reason: why there is no working driver; "" if there is one.
        installed_flavour, loaded_flavour: "open" or "proprietary" kernel module; "" unknown.
    """

    installed: str = ""
    loaded: str = ""
    mismatch: bool | None = None
    reason: str = ""
    installed_flavour: str = ""
    loaded_flavour: str = ""


_DRIVER_SHELL = """\
printf 'installed=%s\\n' "$(modinfo -F version nvidia 2>/dev/null)"
printf 'license=%s\\n' "$(modinfo -F license nvidia 2>/dev/null)"
printf 'loaded=%s\\n' "$(sed -n '/^NVRM version:/{p;q;}' /proc/driver/nvidia/version 2>/dev/null)"
if command -v nvidia-smi >/dev/null 2>&1; then
    answer=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>&1)
    printf 'rc=%s\\n%s\\n' "$?" "$answer"
else
    printf 'rc=127\\n'
fi
"""
_DRIVER_LOOK = re.compile(
    r"installed=(?P<installed>.*)\nlicense=(?P<license>.*)\nloaded=(?P<loaded>.*)\n"
    r"rc=(?P<rc>\d+)\n(?P<answer>[\s\S]*)"
)
_VERSION = re.compile(r"\b\d{3}\.\d+(?:\.\d+)?\b")


def _version_in(text: str) -> str:
    found = _VERSION.search(text)
    return found[0] if found else ""


def parse_driver(result: Result) -> Driver:
    """The driver of `_DRIVER_SHELL`'s output. Raises Unknown for what cannot be read."""
    shape = _DRIVER_LOOK.match(result.text)
    if result.rc != 0 or result.truncated or shape is None:
        raise Unknown(f"the driver's versions could not be read: {result.error_text[:400]}")
    installed, loaded = _version_in(shape["installed"]), _version_in(shape["loaded"])
    rc, answer = int(shape["rc"]), shape["answer"]
    if rc == 0:
        loaded = loaded or _version_in(answer)
    mismatch, reason = _condition(rc, answer, installed, loaded)
    return Driver(
        installed or (loaded if rc == 0 else ""),
        loaded,
        mismatch,
        reason,
        _LICENSES.get(shape["license"], ""),
        _flavour(shape["loaded"]),
    )


_LICENSES = {"Dual MIT/GPL": "open", "NVIDIA": "proprietary"}
"""What modinfo shows as the license of either kernel module."""


def _flavour(line: str) -> str:
    """Of the line "NVRM version: …" of /proc/driver/nvidia/version."""
    if not _version_in(line):
        return ""
    return "open" if "Open Kernel Module" in line else "proprietary"


def _condition(rc: int, answer: str, installed: str, loaded: str) -> tuple[bool | None, str]:
    """Whether there is a mismatch, and why the driver does not work."""
    if rc == 0:
        return bool(installed) and installed != loaded, ""
    if rc == 18:
        return True, " ".join(answer.split())
    if rc == 127 and not installed:
        return None, "no NVIDIA driver is installed"
    if rc == 9:
        return None, "the NVIDIA driver is not loaded"
    return None, f"nvidia-smi failed (exit {rc}): {answer.strip()[:400]}"


DRIVER = Fact(
    "driver",
    "NVIDIA driver: version on disk and loaded, and whether they differ",
    Probe(key=DRIVER_KEY, shell=_DRIVER_SHELL, parse=parse_driver),
    plain,
    (
        ("installed", "text", "Version of the kernel module on disk; empty: there is none."),
        ("loaded", "text", "Version of the loaded module; empty: none is loaded."),
        ("mismatch", "boolean or none", "They differ: a reload or reboot is due. None: unknown."),
        ("reason", "text", "Why there is no working driver; empty: there is one."),
        ("installed_flavour", "text", "`open` or `proprietary` module on disk; empty: unknown."),
        ("loaded_flavour", "text", "The same of the loaded module."),
    ),
)
