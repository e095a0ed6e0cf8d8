"""Names of labs and nodes, and what is derived from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import GpurunError
from runner.lab import network
from runner.lab.gpu.models import MODELS
from runner.lab.layout import Lab, Node, NodeSpec, parse_node
from runner.lab.settings import Settings, read, write


def a_lab(folder: Path, name: str = "lab") -> Lab:
    return Lab(name, folder / name, folder / "cache")


def test_a_node_is_written_as_name_model_and_count() -> None:
    assert parse_node("gpu-a1=A100-80:2") == NodeSpec("gpu-a1", "A100-80", 2)
    assert parse_node("x=T4") == NodeSpec("x", "T4", 1)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_that_can_be_simulated_can_be_had(model: str) -> None:
    assert parse_node(f"n={model}:8") == NodeSpec("n", model, 8)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gpu-a1=A100:2", "no GPU model 'A100'"),
        ("gpu-a1", "no GPU model ''"),
        ("Gpu_1=T4:1", "'Gpu_1' cannot be the name of a node"),
        ("-a=T4:1", "cannot be the name"),
        ("a=T4:0", "1 to 16"),
        ("a=T4:many", "1 to 16, not 'many'"),
        ("a=T4:17", "1 to 16"),
    ],
)
def test_a_node_that_cannot_be_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(GpurunError, match=complaint):
        parse_node(text)


def test_inventory_groups_follow_the_card() -> None:
    assert NodeSpec("a", "A100-40", 1).groups == ("gpu", "a100")
    assert NodeSpec("t", "T4", 1).groups == ("gpu", "t4")


def test_interface_names_fit_the_kernels_15_characters(tmp_path: Path) -> None:
    lab = a_lab(tmp_path, "a-name-as-long-as-names-may-be-1")
    node = Node(lab, NodeSpec("n", "T4", 1), 239, "198.18.1", "full")
    assert len(node.interface) <= 15
    assert node.address == "198.18.1.249"


def test_two_labs_share_no_name_and_no_hardware_address(tmp_path: Path) -> None:
    one, two = (
        Node(a_lab(tmp_path, name), NodeSpec("n", "T4", 1), 0, "198.18.1", "full")
        for name in ("one", "two")
    )
    assert one.interface != two.interface
    assert one.namespace != two.namespace
    assert one.hardware_address != two.hardware_address
    assert int(one.hardware_address[:2], 16) & 3 == 2, "local and unicast"


def test_a_lab_keeps_its_subnet_unless_somebody_else_has_it() -> None:
    first = network.choose_subnet("lab", set())
    assert first == network.choose_subnet("lab", {"198.18.0", "10.0.0"} - {first})
    second = network.choose_subnet("lab", {first})
    assert second != first
    assert second.startswith(("198.18.", "198.19."))


def test_with_all_subnets_in_use_it_says_so() -> None:
    everything = {network.subnet(number) for number in range(network.SUBNETS)}
    assert len(everything) == 512
    with pytest.raises(GpurunError, match="All 512 subnets"):
        network.choose_subnet("lab", everything)


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    lab = a_lab(tmp_path)
    known = Settings("198.18.3", "full", ["/layer", "/base"], "/inventory/lab.yaml")
    known.add(NodeSpec("a", "T4", 1))
    known.add(NodeSpec("b", "A100-40", 2))
    write(lab, known)
    assert read(lab) == known
    assert [node.address for node in known.nodes(lab)] == ["198.18.3.10", "198.18.3.11"]


def test_a_changed_node_keeps_its_place(tmp_path: Path) -> None:
    known = Settings("198.18.3", "full")
    known.add(NodeSpec("a", "T4", 1))
    known.add(NodeSpec("a", "A100-40", 2))
    assert [node.spec for node in known.nodes(a_lab(tmp_path))] == [NodeSpec("a", "A100-40", 2)]


@pytest.mark.parametrize("text", ["", "{ half of a fi", "[]", '{"subnet": "x"}', '{"specs": 3}'])
def test_damaged_settings_count_as_none(tmp_path: Path, text: str) -> None:
    lab = a_lab(tmp_path)
    lab.folder.mkdir()
    lab.settings.write_text(text)
    assert read(lab) is None
