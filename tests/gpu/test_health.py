"""ECC, recovery action, persistence and geometry of `facts.gpus`."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.facts.base import load_fact
from runner.facts.nvidia import Gpus, parse_gpus
from runner.hosts.script import Result
from runner.lab.gpu import add_client, join
from tests.gpu.test_facts import look
from tests.gpu.transcripts import Node, transcript

A100 = "smi-q-x.a100-sxm4-v12.xml.txt"


def changed(*pairs: tuple[str, str]) -> Gpus:
    """The A100's report, in which one of four GPUs is shown, with some of its text replaced."""
    text = transcript(A100).replace("<attached_gpus>4<", "<attached_gpus>1<")
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    return parse_gpus(Result(0, text.encode()))


def test_a_healthy_gpu_with_ecc() -> None:
    (gpu,) = changed()
    assert (gpu.driver, gpu.persistence_mode) == ("535.54.03", False)
    assert (gpu.ecc_mode_current, gpu.ecc_mode_pending, gpu.ecc_uncorrected) == (True, True, 0)
    assert gpu.recovery_action == "None", "as the older reset status says"


@pytest.mark.parametrize(
    ("reset", "drain", "action"),
    [("Yes", "No", "Reset"), ("No", "Yes", "Drain and Reset"), ("N/A", "N/A", None)],
)
def test_what_older_drivers_ask_for(reset: str, drain: str, action: str | None) -> None:
    (gpu,) = changed(
        ("<reset_required>No<", f"<reset_required>{reset}<"),
        ("<drain_and_reset_recommended>No<", f"<drain_and_reset_recommended>{drain}<"),
    )
    assert gpu.recovery_action == action


def test_what_newer_drivers_ask_for() -> None:
    (gpu,) = changed(
        ("<gpu_reset_status>", "<gpu_recovery_action>Reboot</gpu_recovery_action><old>"),
        ("</gpu_reset_status>", "</old>"),
    )
    assert gpu.recovery_action == "Reboot"


def test_uncorrected_errors_are_summed_and_unknown_when_one_is() -> None:
    where = "<dram_uncorrectable>0</dram_uncorrectable>"
    (gpu,) = changed((where, "<dram_uncorrectable>3</dram_uncorrectable>"))
    assert gpu.ecc_uncorrected == 3
    (gpu,) = changed((where, "<dram_uncorrectable>N/A</dram_uncorrectable>"))
    assert gpu.ecc_uncorrected is None


def test_newer_drivers_split_the_errors_of_sram() -> None:
    parity = "<sram_uncorrectable_parity>1</sram_uncorrectable_parity>"
    secded = "<sram_uncorrectable_secded>2</sram_uncorrectable_secded>"
    old = "<sram_uncorrectable>0</sram_uncorrectable>"
    (gpu,) = changed((old, parity + secded))
    assert gpu.ecc_uncorrected == 3
    (half,) = changed((old, parity))
    assert half.ecc_uncorrected is None


def test_geometry_counts_the_instances_of_each_profile(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-40")
    node.smi("-mig 1")
    node.smi("mig -cgi 9,14,19 -C")
    (gpu,) = load_fact("gpus").export(parse_gpus(look(node)))
    assert gpu["geometry"] == {"3g.20gb": 1, "2g.10gb": 1, "1g.5gb": 1}


def test_every_name_of_a_gpu_is_documented() -> None:
    fact = load_fact("gpus")
    (gpu,) = fact.export(changed())
    assert {name for name, *_ in fact.fields} == set(gpu)


@pytest.mark.parametrize(
    ("state", "status", "fabric"),
    [
        ("N/A", "N/A", None),
        ("Not Supported", "N/A", None),
        ("Completed", "Success", "Completed"),
        ("In Progress", "N/A", "In Progress"),
        ("Completed", "Insufficient Resources", "Completed: Insufficient Resources"),
    ],
)
def test_the_fabric_of_nvswitches(state: str, status: str, fabric: str | None) -> None:
    told = "<fabric>\n            <state>{}</state>\n            <status>{}</status>"
    (gpu,) = changed((told.format("N/A", "N/A"), told.format(state, status)))
    assert gpu.fabric == fabric


@pytest.mark.parametrize(("model", "waits"), [("H100-80", "In Progress"), ("A100-80", None)])
def test_the_simulated_fabric_waits_for_its_manager(
    tmp_path: Path, model: str, waits: str | None
) -> None:
    node = Node(tmp_path, model)
    assert [gpu.fabric for gpu in parse_gpus(look(node))] == [None]
    join(tmp_path, 4)
    assert [gpu.fabric for gpu in parse_gpus(look(node))] == [waits]
    add_client(tmp_path, "nvidia-fabricmanager", 7, "nv-fabricmanager", [0])
    joined = "Completed" if waits else None
    assert [gpu.fabric for gpu in parse_gpus(look(node))] == [joined]
