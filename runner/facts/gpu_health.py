"""Each GPU of the bus and how it fares: it answers or not, what its memory and its driver say.

Unlike `facts.gpus` it is known also where a GPU has fallen off the bus or the driver hangs.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from runner.facts.base import Fact, plain
from runner.facts.nvidia import document_of, recovery_action_of, uncorrected_of, value_of
from runner.facts.pci import PciGpu, pci_gpus_of
from runner.facts.xids import address
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

HEALTH_KEY = "gpu health"


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """One GPU.

    Args:
        pci: as `Xid.pci`.
        on_bus: lspci shows it, and its registers do not read as ff.
        answers: nvidia-smi shows it.
        uuid, product: "" where it does not answer.
        recovery_action: as `Gpu.recovery_action`.
        resets_only: its driver tells whether it needs a reset, and nothing of reboots or more.
        remap_pending: a row of its memory (on older GPUs a page) waits for a reset to be replaced;
            None unknown, as in MIG mode.
        remap_failure: a row could not be replaced; None unknown.
        ecc_uncorrected: uncorrectable errors since the driver was loaded; None unknown.
    """

    pci: str
    on_bus: bool
    answers: bool
    uuid: str = ""
    product: str = ""
    recovery_action: str | None = None
    resets_only: bool = False
    remap_pending: bool | None = None
    remap_failure: bool | None = None
    ecc_uncorrected: int | None = None

    @property
    def name(self) -> str:
        return f"GPU {self.pci}"


@dataclass(frozen=True, slots=True)
class Health:
    """All GPUs in the order of the bus. `silence`: why nvidia-smi does not answer; "" it does."""

    gpus: tuple[GpuHealth, ...]
    silence: str = ""


_LOOK = """\
lspci -D -n -d 10de: || exit
echo == nvidia-smi
if ! command -v nvidia-smi >/dev/null 2>&1; then echo 'nvidia-smi is not installed'; exit 0; fi
report=$(timeout 45 nvidia-smi -q -x 2>&1)
rc=$?
[ "$rc" != 124 ] || report='nvidia-smi did not answer within 45 s'
printf '%s\\n' "$report"
exit 0
"""


def parse_health(result: Result) -> Health:
    """What `_LOOK` prints. Raises Unknown for what cannot be read."""
    bus, told, report = result.text.partition("== nvidia-smi\n")
    if result.rc != 0 or result.truncated or not told:
        why = "this host has no lspci" if result.rc == 127 else result.error_text[-200:]
        raise Unknown(f"the health of the GPUs is not known: {why}")
    on_bus = {address(gpu.pci): gpu for gpu in pci_gpus_of(bus)}
    if "<?xml" not in report:
        silence = " ".join(report.split())[:400] or "nvidia-smi prints nothing"
        return Health(tuple(_silent(pci, gpu) for pci, gpu in on_bus.items()), silence)
    answering = {gpu.pci: gpu for gpu in _answering(document_of(report), on_bus)}
    lost = {pci: _silent(pci, gpu) for pci, gpu in on_bus.items() if pci not in answering}
    return Health(tuple(gpu for _, gpu in sorted((answering | lost).items())))


def _silent(pci: str, gpu: PciGpu) -> GpuHealth:
    return GpuHealth(pci, on_bus=gpu.answers, answers=False)


def _answering(report: str, on_bus: dict[str, PciGpu]) -> list[GpuHealth]:
    try:
        log = ElementTree.fromstring(report)
    except ElementTree.ParseError as error:
        raise Unknown(f"nvidia-smi -q -x printed no XML ({error})") from None
    return [_gpu(element, on_bus) for element in log.findall("gpu")]


def _gpu(element: ElementTree.Element, on_bus: dict[str, PciGpu]) -> GpuHealth:
    pci = address(value_of(element.findtext("pci/pci_bus_id")) or element.get("id") or "")
    uuid = value_of(element.findtext("uuid"))
    if uuid is None:
        raise Unknown(f"nvidia-smi -q -x shows GPU {pci} without UUID")
    return GpuHealth(
        pci,
        on_bus=pci in on_bus and on_bus[pci].answers,
        answers=True,
        uuid=uuid,
        product=value_of(element.findtext("product_name")) or "",
        recovery_action=recovery_action_of(element),
        resets_only=value_of(element.findtext("gpu_recovery_action")) is None,
        remap_pending=_yes(
            element, "remapped_rows/remapped_row_pending", "retired_pages/pending_retirement"
        ),
        remap_failure=_yes(element, "remapped_rows/remapped_row_failure"),
        ecc_uncorrected=uncorrected_of(element.find("ecc_errors/volatile")),
    )


def _yes(element: ElementTree.Element, *paths: str) -> bool | None:
    """The first of these elements that says yes or no."""
    for path in paths:
        value = value_of(element.findtext(path))
        if value is not None and not re.fullmatch("Yes|No", value):
            raise Unknown(f"nvidia-smi -q -x shows {path} as {value!r}, not Yes or No")
        if value is not None:
            return value == "Yes"
    return None


GPU_HEALTH = Fact(
    "gpu_health",
    "Each GPU on the bus, also one that does not answer: what its memory and its driver say",
    Probe(HEALTH_KEY, _LOOK, parse_health, timeout=75.0),
    lambda health: plain(health.gpus),
    (
        ("pci", "text", "Address, `0000:9b:00`, as `facts.xids` has it."),
        ("on_bus", "boolean", "False: it has fallen off the bus."),
        ("answers", "boolean", "nvidia-smi shows it."),
        ("uuid", "text", "`GPU-...`; empty where it does not answer."),
        ("product", "text", "Such as `NVIDIA A100-SXM4-80GB`."),
        ("recovery_action", "text or none", "As in `facts.gpus`."),
        ("resets_only", "boolean", "An older driver: it tells of resets, not of reboots or more."),
        (
            "remap_pending",
            "boolean or none",
            "A row (or page) of memory waits for a reset to be replaced; none: MIG mode hides it.",
        ),
        ("remap_failure", "boolean or none", "A row of memory could not be replaced."),
        ("ecc_uncorrected", "number or none", "Uncorrectable errors since the driver was loaded."),
    ),
)
