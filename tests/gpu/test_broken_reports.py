"""Whatever breaks in nvidia-smi's output: the true value is read, or none, or it is Unknown."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.facts.gpu_health import parse_health
from runner.facts.nvidia import Gpu, Gpus, parse_gpus
from runner.hosts.script import Result
from runner.modules.base import Unknown
from tests.gpu.test_facts import look
from tests.gpu.test_formats import REPORTS, real
from tests.gpu.transcripts import Node

BUS = "0000:01:00.0 0302: 10de:20b2 (rev a1)\n== nvidia-smi\n"
WARNING = "WARNING: infoROM is corrupted at gpu 0000:3B:00.0"
NO_VALUE = (
    *("N/A", "[N/A]", "ERR!", "[Not Supported]", "[Unknown Error]", "[GPU is lost]"),
    "[Insufficient Permissions]",
)

# In the DTD of the report "<processes />" means that there is none, and a process that is left out
# of it cannot be missed by any reader.
_ELEMENT = re.compile(r"\n[ \t]*<(?!process_info)(\w+)>[^<\n]*</\1>")
_BLOCK = re.compile(r"\n([ \t]*)<(?!process_info|mig_device\b)(\w+)>\n(?:\1[ \t].*\n)*\1</\2>")
_VALUE = re.compile(r"(?<=>)[^<>\n]+(?=</)")
_ROW = re.compile(r"\n\|[^\n]*MIG \d[^\n]*")
_CELL = re.compile(r"(?<=  )(?:MIG \S+|\d+:\d+|\d+)(?=  )")


def simulated(folder: Path) -> str:
    """An R550 report of an H100 in three instances, with its tables."""
    node = Node(folder, "H100-80")
    node.smi("-mig 1")
    node.smi("mig -cgi 3g.40gb,2g.20gb,1g.10gb -C")
    return look(node).text


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*map(real, REPORTS), simulated(tmp_path_factory.mktemp("h100"))]


@st.composite
def breaks(draw: st.DrawFn, text: str) -> str:
    """The output with up to three things broken."""
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from((_ELEMENT, _BLOCK, _VALUE, _ROW, _CELL, None)))
        if kind is None:
            ends = [match.end() for match in re.finditer("\n", text)]
            place = draw(st.sampled_from(ends))
            text = f"{text[:place]}{WARNING}\n{text[place:]}"
        elif found := list(kind.finditer(text)):
            start, end = draw(st.sampled_from(found)).span()
            new = draw(st.sampled_from(NO_VALUE)) if kind in (_VALUE, _CELL) else ""
            text = text[:start] + new + text[end:]
    return text


def values(gpus: Gpus) -> list[dict[str, Any]]:
    return [{f.name: getattr(gpu, f.name) for f in fields(Gpu)} for gpu in gpus]


@given(data=st.data())
def test_a_broken_report_is_never_another_one(data: st.DataObject, outputs: list[str]) -> None:
    text = data.draw(st.sampled_from(outputs))
    broken = data.draw(breaks(text))
    try:
        seen = values(parse_gpus(Result(0, broken.encode())))
    except Unknown:
        return
    whole = values(parse_gpus(Result(0, text.encode())))
    assert len(seen) == len(whole)
    for gpu, true in zip(seen, whole, strict=True):
        for name, value in gpu.items():
            if name == "processes":
                known = [(p.pid, p.name, p.instance) for p in true[name]]
                assert [p.pid for p in value] == [pid for pid, *_ in known]
                shown = zip(value, known, strict=True)
                assert all(p.name in ("?", n) and p.instance in (None, i) for p, (_, n, i) in shown)
            else:
                assert value in (None, "", true[name]), name


@given(data=st.data())
def test_health_of_a_broken_report_is_never_another_one(
    data: st.DataObject, outputs: list[str]
) -> None:
    text = data.draw(st.sampled_from(outputs))
    report = text.partition("== mig -lgi")[0]
    broken = data.draw(breaks(report))
    try:
        seen = parse_health(Result(0, (BUS + broken).encode()))
    except Unknown:
        return
    whole = {gpu.uuid: gpu for gpu in parse_health(Result(0, (BUS + report).encode())).gpus}
    for gpu in seen.gpus:
        true = whole[gpu.uuid]
        for field in ("recovery_action", "remap_pending", "remap_failure", "ecc_uncorrected"):
            assert getattr(gpu, field) in (None, getattr(true, field)), field
