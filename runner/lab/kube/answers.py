"""What the API sends back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from runner.lab.kube.kinds import Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back: JSON, or plain text for the health checks."""

    code: int
    body: Json | str
    headers: Mapping[str, str] = field(default_factory=dict)

    def warning(self, warnings: Sequence[str]) -> Answer:
        """The same answer with these warnings, each once, in its header."""
        if not warnings:
            return self
        told = ", ".join(f"299 - {json.dumps(text)}" for text in dict.fromkeys(warnings))
        return replace(self, headers={**self.headers, "Warning": told})
