"""Texts real GPUs printed (tests/fixtures/nvidia-smi), and nodes of the simulator beside them."""

from __future__ import annotations

import re
from pathlib import Path

from runner.lab.gpu import create
from runner.lab.gpu.commands import run
from runner.lab.gpu.state import Answer, changing

FOLDER = Path(__file__).parent.parent / "fixtures/nvidia-smi"


def transcript(name: str) -> str:
    """A transcript without its line of provenance."""
    return (FOLDER / name).read_text().split("\n", 1)[1]


def session(name: str) -> list[tuple[str, str]]:
    """Commands ("$ …") and what each printed, a blank line after each left out."""
    parts = re.split(r"^\$ (.*)\n", transcript(name).partition("\n## ")[0], flags=re.M)[1:]
    return [
        (command, output.rstrip("\n") + "\n")
        for command, output in zip(parts[::2], parts[1::2], strict=True)
    ]


def refusal(title: str, name: str = "errors.mig-and-reset.txt") -> str:
    """The text under a "## TITLE" heading of a collection of errors."""
    parts = re.split(r"^## (.*)\n", transcript(name), flags=re.M)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    (text,) = (text for head, text in found.items() if head.startswith(title))
    return text.rstrip("\n") + "\n"


class Node:
    """A simulated node in a folder."""

    def __init__(self, root: Path, model: str, count: int = 1, driver: str = "550.90.07") -> None:
        self.root = root
        create(root, model, count, driver)

    def run(self, line: str) -> Answer:
        command, *arguments = line.removeprefix("sudo ").split()
        return run(command, arguments, self.root)

    def smi(self, line: str = "") -> Answer:
        return run("nvidia-smi", line.split(), self.root)

    def at(self, pci: str) -> Node:
        """Put the first GPU at the bus id of a transcript."""
        with changing(self.root) as state:
            state["gpus"][0]["pci"] = pci
        return self
