"""nvidia-smi's formats from R450 to R595: fields that are missing, unavailable or broken, warnings
in between, and that the simulator's output is read as the real one is."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import pytest

from runner.facts.nvidia import Gpu, parse_gpus, parse_instances, value_of
from runner.hosts.script import Result
from runner.lab.gpu.query import FIELDS
from runner.modules.base import Unknown
from tests.gpu.test_facts import look
from tests.gpu.transcripts import Node, transcript

REPORTS = ["smi-q-x.a100-sxm4-v12.xml.txt", "smi-q-x.a10g.xml.txt", "smi-q-x.tesla-t4.xml.txt"]


def real(name: str) -> str:
    """The A100's report was cut to one of four GPUs before it was published."""
    return transcript(name).replace("<attached_gpus>4<", "<attached_gpus>1<")


def read(text: str, rc: int = 0) -> Gpu:
    (gpu,) = parse_gpus(Result(rc, text.encode()))
    return gpu


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(
    ("before", "after", "rc"),
    [
        ("", "", 0),
        ("WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n", "", 0),
        ("", "WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n", 14),
        ("Warning: persistence mode is disabled on device 00000000:01:00.0.\n", "\n", 0),
    ],
)
def test_warnings_before_and_after_the_report(name: str, before: str, after: str, rc: int) -> None:
    assert read(before + real(name) + after, rc) == read(real(name))


@pytest.mark.parametrize("attached", [1, 2])
def test_a_lost_gpu_is_unknown_whatever_is_counted(attached: int) -> None:
    lost = "Unable to determine the device handle for GPU3: 0000:04:00.0: Unknown Error\n"
    text = real(REPORTS[0]).replace("<attached_gpus>1<", f"<attached_gpus>{attached}<")
    with pytest.raises(Unknown, match="device handle for GPU3"):
        read(lost + text)
    if attached == 2:
        with pytest.raises(Unknown, match="2 attached GPUs but shows 1"):
            read(text)


@pytest.mark.parametrize("text", ["", "No devices were found\n", "<?xml version='1.0'?>\n<nvidia"])
def test_half_a_report_is_unknown(text: str) -> None:
    with pytest.raises(Unknown, match="printed no XML"):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "N/A",
        "[N/A]",
        "[Not Supported]",
        "Not Supported",
        "[Unknown Error]",
        "Unknown Error",
        "[Insufficient Permissions]",
        "ERR!",
        "[GPU is lost]",
        "[GPU requires reset]",
        "[Requested functionality has been deprecated]",
        "Function Not Found",
        "",
        None,
    ],
)
def test_every_way_to_say_that_there_is_no_value(text: str | None) -> None:
    assert value_of(text) is None


@pytest.mark.parametrize("word", ["N/A", "ERR!", "Unknown Error", "GPU is lost"])
def test_a_mode_that_cannot_be_read_is_not_off(word: str) -> None:
    text = real(REPORTS[0])
    for tag in ("persistence_mode", "current_ecc"):
        value = text.split(f"<{tag}>")[1].split("<")[0]
        text = text.replace(f"<{tag}>{value}<", f"<{tag}>{word}<")
    gpu = read(text)
    assert (gpu.persistence_mode, gpu.ecc_mode_current) == (None, None)


def test_a_report_of_before_mig_knows_nothing_of_it() -> None:
    """R440 and earlier have no such element."""
    text = real(REPORTS[2])
    start, end = text.index("<mig_mode>"), text.index("</mig_mode>") + len("</mig_mode>")
    gpu = read(text[:start] + text[end:])
    assert (gpu.mig_capable, gpu.mig_mode_current) == (None, None)


@pytest.mark.parametrize(
    ("model", "name", "mig"),
    [("A100-80", REPORTS[0], True), ("T4", REPORTS[2], False)],
)
def test_the_simulated_report_says_as_much_as_the_real_one(
    model: str, name: str, mig: bool, tmp_path: Path
) -> None:
    """The same fields have a value, the same have none; the T4's driver is older."""
    node = Node(tmp_path, model)
    if mig:
        node.smi("-mig 1")
    (shown,), wanted = parse_gpus(look(node)), read(real(name))
    names = {f.name for f in fields(Gpu)} - ({"recovery_action"} if model == "T4" else set())
    told = {name: getattr(shown, name) is not None for name in names}
    assert told == {name: getattr(wanted, name) is not None for name in names}


@pytest.mark.parametrize(
    ("model", "capture", "mig"),
    [
        ("H100-80", "cap.h100-590.query-gpu.idle.txt", False),
        ("H100-80", "cap.h100-mig-590.query-gpu.idle.txt", True),
        ("H200-141", "cap.h200-590.query-gpu.idle.txt", False),
        ("H200-141", "cap.h200-mig-590.query-gpu.idle.txt", True),
    ],
)
def test_queries_have_the_headers_units_and_gaps_of_the_captures(
    model: str, capture: str, mig: bool, tmp_path: Path
) -> None:
    node = Node(tmp_path, model, driver="590.48.01")
    if mig:
        node.smi("-mig 1")
    rows = csv.reader(transcript(capture).splitlines(), skipinitialspace=True)
    real_row = dict(zip(next(rows), next(rows), strict=True))
    names = {head.split(" ")[0]: head for head in real_row}
    both = [name for name in FIELDS if name in names]
    assert len(both) > 25
    answer = node.smi(f"--query-gpu={','.join(both)} --format=csv").out
    head, row = csv.reader(answer.splitlines(), skipinitialspace=True)
    assert head == [names[name] for name in both]
    for name, value in zip(both, row, strict=True):
        seen = real_row[names[name]]
        assert (value_of(value) is None) == (value_of(seen) is None), (name, value, seen)
        assert value.split(" ")[1:] == seen.split(" ")[1:] or name == "name", (name, value, seen)


OLD_LIST = """\
+----------------------------------------------------+
| GPU instances:                                     |
| GPU   Name          Profile  Instance   Placement  |
|                       ID       ID       Start:Size |
|====================================================|
|   0  MIG 1g.5gb       19        7          4:1     |
+----------------------------------------------------+
|   1  MIG 3g.20gb       9        2          4:4     |
+----------------------------------------------------+
"""
OLD_PARTS = """\
+-------------------------------------------------------+
| Compute instances:                                    |
| GPU     GPU       Name             Profile   Instance |
|       Instance                       ID        ID     |
|         ID                                            |
|=======================================================|
|   0      7       MIG 1g.5gb           0         0     |
+-------------------------------------------------------+
|   1      2       MIG 1c.3g.20gb       0         0     |
+-------------------------------------------------------+
"""


def test_the_narrow_tables_of_r450() -> None:
    found = parse_instances(OLD_LIST, OLD_PARTS)
    (one,), (other,) = found[0], found[1]
    assert (one.profile, one.placement, one.whole) == ("1g.5gb", "4:1", True)
    assert (other.id, other.compute, other.whole) == (2, ("1c.3g.20gb",), False)
