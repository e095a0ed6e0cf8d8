"""What `lab up` remembers of a lab: its nodes, subnet and image, in one JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runner.lab.layout import Lab, Node, NodeSpec


@dataclass(slots=True)
class Settings:
    """Everything needed to name the nodes again.

    Args:
        subnet: first three bytes of its /24.
        layers: folders of the image its nodes were made from, topmost first.
        inventory: the inventory file that was written.
        nodes: node name → its index and what it should be.
    """

    subnet: str
    profile: str
    layers: list[str] = field(default_factory=list)
    inventory: str = ""
    indexes: dict[str, int] = field(default_factory=dict)
    specs: dict[str, NodeSpec] = field(default_factory=dict)

    def add(self, spec: NodeSpec) -> None:
        """Add or change a node; it gets the lowest free index."""
        if spec.name not in self.indexes:
            used = set(self.indexes.values())
            self.indexes[spec.name] = next(i for i in range(len(used) + 1) if i not in used)
        self.specs[spec.name] = spec

    def nodes(self, lab: Lab) -> list[Node]:
        """All nodes, by index."""
        return [
            Node(lab, self.specs[name], index, self.subnet, self.profile)
            for name, index in sorted(self.indexes.items(), key=lambda item: item[1])
        ]


def read(lab: Lab) -> Settings | None:
    """What an earlier `up` wrote; None when there is nothing, or nothing that can be read."""
    try:
        content = json.loads(lab.settings.read_text())
        content["specs"] = {name: NodeSpec(**spec) for name, spec in content["specs"].items()}
        found = Settings(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if found.indexes.keys() == found.specs.keys() else None


def write(lab: Lab, settings: Settings) -> None:
    """Replace the file in one step."""
    replace(lab.settings, json.dumps(asdict(settings), indent=1) + "\n")


def replace(path: Path, text: str) -> None:
    """Write a file so that readers see the old or the new text, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.rename(path)
