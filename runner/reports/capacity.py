"""GPUs offered, used and free, by node and by kind of GPU. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runner.kube.parse import FINISHED, is_gpu_resource, quantity
from runner.kube.state import NodeState
from runner.modules.base import Unknown
from runner.reports.columns import aligned

COLUMNS = ("NODE", "KIND", "RESOURCE", "ALLOCATABLE", "USED", "FREE", "NOTE")
PRODUCT = "nvidia.com/gpu.product"
"""Label by which GPU feature discovery tells the kind of GPU."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """One resource of one node.

    Args:
        kind: of GPU, by the node's labels; "" where they do not tell.
        used: what pods that have not ended ask for.
        free: what is left for new pods: none on a node that takes no pods.
        note: why that is so.
    """

    node: str
    kind: str
    resource: str
    allocatable: int
    used: int
    free: int
    note: str = ""


def of_node(node: NodeState) -> list[Capacity]:
    """The GPU resources of a node. Raises Unknown for a quantity that cannot be read."""
    try:
        offered = {k: quantity(v) for k, v in node.allocatable.items() if is_gpu_resource(k)}
    except ValueError as error:
        raise Unknown(f"node {node.name}: allocatable GPUs: {error}") from error
    used = _used(node)
    note = "" if node.ready else "not Ready"
    if node.unschedulable:
        note = "cordoned" if node.ready else f"{note}, cordoned"
    return [
        Capacity(
            node.name,
            node.labels.get(PRODUCT, ""),
            name,
            offered.get(name, 0),
            used.get(name, 0),
            0 if note else max(0, offered.get(name, 0) - used.get(name, 0)),
            note,
        )
        for name in sorted({*offered, *used})
        if offered.get(name) or used.get(name)
    ]


def _used(node: NodeState) -> dict[str, int]:
    used: dict[str, int] = {}
    for pod in node.pods:
        if pod.phase not in FINISHED:
            for name, number in pod.gpu_requests.items():
                used[name] = used.get(name, 0) + number
    return used


def totals(rows: Iterable[Capacity]) -> list[Capacity]:
    """One row for each kind and resource, over all nodes."""
    found: dict[tuple[str, str], Capacity] = {}
    for row in rows:
        before = found.get((row.kind, row.resource), Capacity("", row.kind, row.resource, 0, 0, 0))
        found[row.kind, row.resource] = Capacity(
            "",
            row.kind,
            row.resource,
            before.allocatable + row.allocatable,
            before.used + row.used,
            before.free + row.free,
        )
    return [found[key] for key in sorted(found)]


def as_data(rows: Sequence[Capacity], unknown: Mapping[str, str]) -> dict[str, Any]:
    """For `--output json`."""
    hidden = ("node", "note")
    summed = [{k: v for k, v in asdict(row).items() if k not in hidden} for row in totals(rows)]
    return {"nodes": [asdict(row) for row in rows], "totals": summed, "unknown": dict(unknown)}


def table(rows: Sequence[Capacity], unknown: Mapping[str, str]) -> list[str]:
    """Lines for a person: nodes, totals, and what could not be read."""
    lines = aligned([COLUMNS, *map(_cells, rows), *(_cells(t, "TOTAL") for t in totals(rows))])
    return lines + [f"{host}: unknown: {why}" for host, why in unknown.items()]


def _cells(row: Capacity, name: str = "") -> tuple[str, ...]:
    numbers = (str(row.allocatable), str(row.used), str(row.free))
    return (name or row.node, row.kind or "?", row.resource, *numbers, row.note)
