"""What gpurun brings along: playbooks, their templates and an inventory example."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def shipped() -> Path:
    """The folder that holds playbooks/ and inventory/: in the package, or the repository's own
    where gpurun runs from a clone (setup.py copies them when a package is built)."""
    packaged = _HERE / "_shipped"
    return packaged if packaged.is_dir() else _HERE.parent
