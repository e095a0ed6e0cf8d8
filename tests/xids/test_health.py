"""`facts.gpu_health`: known also where a GPU is lost or the driver is silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.facts.base import load_fact
from runner.facts.gpu_health import Health, parse_health
from runner.hosts.script import Result
from runner.lab.faults import ASKED_FOR
from runner.lab.gpu import add_xid, ask_for, lose_gpu, remap_row
from runner.modules.base import Unknown
from tests.gpu.transcripts import Node, transcript

HEADER = "== nvidia-smi\n"


def read(text: str, rc: int = 0) -> Health:
    return parse_health(Result(rc, text.encode()))


def look(node: Node) -> Health:
    return read(node.run("lspci -D -n -d 10de:").out + HEADER + node.smi("-q -x").out)


def test_a_healthy_node(tmp_path: Path) -> None:
    first, second = look(Node(tmp_path, "A100-80", 2)).gpus
    assert (first.pci, second.pci) == ("0000:01:00", "0000:02:00")
    assert first.on_bus and first.answers and first.uuid.startswith("GPU-")
    assert (first.recovery_action, first.remap_pending, first.remap_failure) == (
        "None",
        False,
        False,
    )


def test_a_lost_gpu_among_others(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-80", 3)
    lose_gpu(tmp_path, 1)
    found = look(node)
    assert [(g.on_bus, g.answers, bool(g.uuid)) for g in found.gpus] == [
        (True, True, True),
        (False, False, False),
        (True, True, True),
    ]
    assert not found.silence


@pytest.mark.parametrize(("code", "action"), sorted(ASKED_FOR.items()))
@pytest.mark.parametrize("driver", ["550.90.07", "570.86.15"])
def test_a_memory_error_is_over_after_a_reset(
    tmp_path: Path, code: int, action: str, driver: str
) -> None:
    node = Node(tmp_path, "A100-80", driver=driver)
    add_xid(tmp_path, 0, code, "text")
    ask_for(tmp_path, 0, action)
    remap_row(tmp_path, 0)
    (gpu,) = look(node).gpus
    assert (gpu.recovery_action, gpu.remap_pending) == (action, True)
    assert gpu.resets_only == (driver < "570"), "it has no gpu_recovery_action"
    node.smi("--gpu-reset -i 0")
    (gpu,) = look(node).gpus
    assert (gpu.recovery_action, gpu.remap_pending) == ("None", False)


def test_mig_mode_hides_the_rows(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    node.smi("-mig 1")
    (gpu,) = look(node).gpus
    assert (gpu.remap_pending, gpu.remap_failure) == (None, None)


def test_pages_of_older_gpus() -> None:
    bus = "0000:00:1e.0 0302: 10de:1eb8 (rev a1)\n"
    text = transcript("smi-q-x.tesla-t4.xml.txt")
    (gpu,) = read(bus + HEADER + text).gpus
    assert (gpu.on_bus, gpu.remap_pending, gpu.remap_failure) == (True, False, None)
    pending = text.replace("<pending_retirement>No<", "<pending_retirement>Yes<")
    assert read(bus + HEADER + pending).gpus[0].remap_pending


def test_a_driver_that_does_not_answer() -> None:
    found = read("0000:01:00.0 0302: 10de:2330 (rev a1)\n" + HEADER + "NVML:\nmismatch\n")
    assert found.silence == "NVML: mismatch"
    assert [(g.on_bus, g.answers) for g in found.gpus] == [(True, False)]


@pytest.mark.parametrize(
    ("text", "rc"),
    [("", 127), ("", 0), (HEADER + "<?xml no", 0), (HEADER + "<?xml ?><a><gpu/></a>", 0)],
)
def test_what_cannot_be_read_is_unknown(text: str, rc: int) -> None:
    with pytest.raises(Unknown):
        read(text, rc)


def test_its_look_is_bounded() -> None:
    probe = load_fact("gpu_health").probe
    assert probe is not None and "timeout 45 nvidia-smi" in probe.shell
