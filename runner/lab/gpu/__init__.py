"""A simulated GPU node: nvidia-smi and the driver's tools over one state file.

Self-contained (standard library, Python 3.11), because the lab copies it onto its nodes and runs
it there as `python3 -m gpu COMMAND ARGUMENTS…` (see `__main__`). On the host the lab uses the
functions exported here with the node's root folder; a node's own root is "/".
"""

from .api import (
    add_client,
    add_xid,
    allocatable,
    ask_for,
    create,
    expose_reset,
    join,
    lose_gpu,
    remap_row,
    remove_client,
)

__all__ = [
    "add_client",
    "add_xid",
    "allocatable",
    "ask_for",
    "create",
    "expose_reset",
    "join",
    "lose_gpu",
    "remap_row",
    "remove_client",
]
