"""Measurements as a Markdown table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.tools import Cost


@dataclass(frozen=True, slots=True)
class Row:
    """One tool in one case; a case has one row per tool.

    Args:
        case: nodes and delay, for example "50 light, 20 ms".
    """

    case: str
    tool: str
    changed: Cost
    unchanged: Cost


_HEAD = (
    "nodes, round trip",
    "tool",
    "changed: s",
    "ratio",
    "CPU s (client + nodes)",
    "unchanged: s",
    "ratio",
    "CPU s (client + nodes)",
    "client memory, MiB",
)


def table(rows: Sequence[Row]) -> str:
    """A line per row; ratios are to gpurun in the same case: above 1 is slower than gpurun."""
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    for row in rows:
        own = next((r for r in rows if r.case == row.case and r.tool == "gpurun"), None)
        cells = [row.case, row.tool]
        for kind in ("changed", "unchanged"):
            cost: Cost = getattr(row, kind)
            ratio = f"{cost.seconds / getattr(own, kind).seconds:.1f}" if own else "?"
            cpu = f"{cost.client_cpu:.1f} + {cost.node_cpu:.1f}"
            cells += [f"{cost.seconds:.1f}", ratio, cpu]
        peak = max(row.changed.memory, row.unchanged.memory)
        lines.append(_line([*cells, f"{peak / 2**20:.0f}"]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
