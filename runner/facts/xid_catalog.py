"""NVIDIA's XIDs: what each number means and what NVIDIA says to do about it.

The table is data (`xid_catalog.tsv` beside this file), because its sources disagree and a site
may know better: `catalog` lays a site's own entries over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One XID.

    Args:
        immediate: NVIDIA's name of what to do at once ("RESET_GPU"); "": NVIDIA names nothing.
        investigatory: what to look into when it comes again.
        fatal: the GPU cannot be used before something is done.
    """

    code: int
    meaning: str
    immediate: str = ""
    investigatory: str = ""
    fatal: bool = False


@cache
def shipped() -> Mapping[int, Entry]:
    """The table that gpurun brings along."""
    text = Path(__file__).with_name("xid_catalog.tsv").read_text()
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {
        int(code): Entry(int(code), meaning, immediate, investigatory, fatal == "fatal")
        for code, meaning, immediate, investigatory, fatal in rows
    }


def catalog(own: Mapping[int, Mapping[str, Any]] | None = None) -> Mapping[int, Entry]:
    """The shipped table with a site's own entries over it; what an entry leaves out stays.

    Args:
        own: XID -> `meaning`, `immediate`, `investigatory`, `fatal`, any of them.
    """
    found = dict(shipped())
    for code, fields in (own or {}).items():
        found[code] = replace(found.get(code, Entry(code, "as this site says")), **fields)
    return found
