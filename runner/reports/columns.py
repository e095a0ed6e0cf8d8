"""Rows of text as the lines of a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their cells under one another; a row shorter than the first does not count."""
    known = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[n]) for row in known) for n in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
