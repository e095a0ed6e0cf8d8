"""What gpurun brings along: playbooks, their templates, an inventory example, the RBAC manifest."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def shipped() -> Path:
    """The folder that holds playbooks/, inventory/ and deploy/: in the package, or the repository's
    own where gpurun runs from a clone (setup.py copies them when a package is built)."""
    packaged = _HERE / "_shipped"
    return packaged if packaged.is_dir() else _HERE.parent
