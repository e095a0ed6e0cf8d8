"""Values as Go prints them, for messages that show what was wrong."""

from __future__ import annotations

import json
from typing import Any


def printed(value: Any) -> str:
    """As %+v prints an unstructured value: `map[spec:map[unschedulable:true]]`."""
    if isinstance(value, dict):
        inside = " ".join(f"{key}:{printed(value[key])}" for key in sorted(value))
        return f"map[{inside}]"
    if isinstance(value, list):
        return f"[{' '.join(map(printed, value))}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def quoted(value: Any) -> str:
    """As field errors show a value: JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
