"""The names of everything these tests make: one prefix per process, on whichever cluster."""

from __future__ import annotations

import uuid

PREFIX = f"gpurun-test-{uuid.uuid4().hex[:5]}"
NS = PREFIX
"""The namespace of whatever has one."""
NODE = f"{PREFIX}-1"
"""The node a test is about."""
OTHER = f"{PREFIX}-2"
"""A second node, for what is elsewhere."""


def node_name(number: int | str) -> str:
    return f"{PREFIX}-{number}"
