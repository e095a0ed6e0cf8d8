"""Times in the forms the API uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now(later: float = 0.0) -> str:
    """The present (or some seconds later) as metav1.Time: RFC 3339 in UTC, whole seconds."""
    moment = datetime.now(UTC) + timedelta(seconds=later)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def age(timestamp: str) -> str:
    """How long ago, in kubectl's short form: 12s, 5m, 3h, 2d."""
    moment = datetime.fromisoformat(timestamp)
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
