"""Facts of GPUs that the default nodes do not have."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from runner.lab.layout import parse_node
from tests.conftest import LabUnderTest, lab_of_its_own
from tests.lab.program import Program

pytestmark = pytest.mark.lab

NODES = ("a30=A30:2", "h200=H200-141:1", "b200=B200:1", "l4=L4:1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Nodes of these models."""
    specs = tuple(map(parse_node, NODES))
    with lab_of_its_own(tmp_path_factory.mktemp("inventory"), specs, "-models") as found:
        yield found


def test_facts_name_each_model_and_what_it_can(lab: LabUnderTest, program: Program) -> None:
    done = program.run("facts", "gpus", "pci_gpus", "-i", str(lab.inventory))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    seen = {
        name: {(gpu["product"], gpu["mig_capable"]) for gpu in facts["gpus"]}
        for name, facts in found.items()
    }
    assert seen == {
        "a30": {("NVIDIA A30", True)},
        "h200": {("NVIDIA H200", True)},
        "b200": {("NVIDIA B200", True)},
        "l4": {("NVIDIA L4", False)},
    }
    on_the_bus = {name: len(facts["pci_gpus"]) for name, facts in found.items()}
    assert on_the_bus == {"a30": 2, "h200": 1, "b200": 1, "l4": 1}
