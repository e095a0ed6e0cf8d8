"""Facts are read from the report in XML. What is asked for in columns besides must be known to
every driver, as an unknown name fails the whole query: then no driver need be asked for its names
(`--help-query-gpu`)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.gpu.transcripts import transcript

PROJECT = Path(__file__).parents[2]
_QUERY = re.compile(r"--query-(gpu|compute-apps)=([a-z_.,]+)")

EVERY_DRIVER = {
    "gpu": {
        *("driver_version", "index", "mig.mode.current", "mig.mode.pending", "pci.bus_id"),
        *("persistence_mode", "uuid"),
    },
    "compute-apps": {"gpu_uuid", "pid", "process_name", "used_memory"},
}
"""Names that R450 to R595 have alike (nvidia-smi(1) of R450; the list of 590 is checked below)."""


def asked() -> dict[str, set[str]]:
    """All names that gpurun or a playbook of it asks for; the simulator only answers."""
    found: dict[str, set[str]] = {kind: set() for kind in EVERY_DRIVER}
    files = [*PROJECT.glob("runner/**/*.py"), *PROJECT.glob("playbooks/**/*.yaml")]
    for file in files:
        if "lab" not in file.relative_to(PROJECT).parts:
            for kind, names in _QUERY.findall(file.read_text()):
                found[kind].update(names.split(","))
    return found


def test_only_columns_that_every_driver_has_are_asked_for() -> None:
    assert asked() == EVERY_DRIVER


def test_a_driver_of_today_has_them_too() -> None:
    known = set(re.findall(r'"([a-z_.]+)"', transcript("cap.h100-mig-590.help-query-gpu.txt")))
    assert len(known) > 100
    assert EVERY_DRIVER["gpu"] <= known
