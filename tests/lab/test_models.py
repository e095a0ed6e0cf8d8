"""GPUs that the default nodes do not have: what is read of them, and how they are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from runner.lab.layout import parse_node
from tests.conftest import LabUnderTest, lab_of_its_own
from tests.lab.program import Cluster, Program
from tests.lab.test_mig_layouts import PLUGIN, offered

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


def test_each_model_is_cut_as_it_can_be(
    lab: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    code, told = program.json("apply", "playbooks/mig-7x1g.yaml", "--yes")
    assert code == 4
    assert {host["host"]: host["status"] for host in told["hosts"]} == {
        "a30": "denied",
        "h200": "changed",
        "b200": "changed",
        "l4": "denied",
    }
    why = {host["host"]: host["reason"] for host in told["hosts"]}
    assert "GPU 0 (NVIDIA A30) cannot hold 7x 1g.6gb together" in why["a30"]
    assert "no MIG on NVIDIA L4" in why["l4"]
    assert offered(cluster, "h200") == offered(cluster, "b200") == {"gpu": 7}

    balanced = ("apply", "playbooks/mig-all-balanced.yaml", "--yes", "--limit", "a30")
    code, told = program.json(*balanced)
    assert code == 4, "its plugin would not offer them, and nothing is cut"
    assert offered(cluster, "a30") == {"gpu": 2}
    (container,) = cluster.read(PLUGIN)["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "MIG_STRATEGY", "value": "mixed"}]
    cluster.patch(PLUGIN, {"spec": {"template": {"spec": {"containers": [container]}}}})
    code, told = program.json(*balanced)
    assert code == 0, str(told["hosts"])
    assert offered(cluster, "a30") == {"mig-2g.12gb": 2, "mig-1g.6gb": 4}
    code, told = program.json(*balanced)
    assert code == 0 and told["changes"] == []
