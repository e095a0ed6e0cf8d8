"""Geometries that come back at boot: what is written on the host, and what it does there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runner.facts.nvidia import GPUS_KEY
from runner.hosts.script import Result
from runner.lab.gpu.commands import run
from runner.modules.base import Change, Disruption, Unknown
from runner.modules.mig_at_boot import FOLDER, SCRIPT, UNIT_FILE, parse_kept
from tests.mig.simulated import SimulatedHost
from tests.mig.test_commands import profiles


def carry_out(host: SimulatedHost, **arguments: Any) -> list[Change]:
    changes = list(host.plan(**arguments).changes)
    for change in changes:
        assert host.enact(change) is None
    return changes


def boot(host: SimulatedHost) -> Result:
    """The node boots and the unit runs."""
    run("boot", [], host.root)
    return unit(host)


def unit(host: SimulatedHost) -> Result:
    return host.sh((host.root / SCRIPT[1:]).read_text())


def kept(host: SimulatedHost) -> dict[str, str]:
    folder = host.root / FOLDER[1:]
    return {file.name: file.read_text().strip() for file in folder.glob("*")}


@pytest.mark.parametrize("model", ["A30", "H100-80"])
def test_the_same_geometry_after_a_boot(model: str, tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, model, 2)
    cut, keep = carry_out(host, geometry="1x2g,2x1g", persist=True)
    assert (cut.disruption, keep.disruption) == (Disruption.GPU, Disruption.NONE)
    assert keep.summary == "MIG of GPU 0, 1 comes back at boot (gpurun-mig.service)"
    assert host.plan(geometry="1x2g,2x1g", persist=True).changes == ()
    before = profiles(host)
    run("boot", [], host.root)
    assert profiles(host) == [Counter(), Counter()]
    assert boot(host).rc == 0
    assert profiles(host) == before
    assert host.plan(geometry="1x2g,2x1g", persist=True).changes == ()


def test_what_is_as_it_should_be_is_left_alone_wherever_it_lies(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80")
    carry_out(host, geometry="1x3g", persist=True)
    host.smi("mig", "-dci")
    host.smi("mig", "-dgi")
    host.smi("mig", "-cgi", "3g.40gb:0", "-C")
    before = host.observe()[GPUS_KEY]
    assert unit(host).rc == 0
    assert host.observe()[GPUS_KEY] == before


def test_other_instances_are_not_destroyed_by_the_unit(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80", 2)
    carry_out(host, geometry="1x3g", persist=True)
    host.smi("mig", "-i", "0", "-cgi", "1g.10gb", "-C")
    host.smi("mig", "-i", "1", "-dci")
    host.smi("mig", "-i", "1", "-dgi")
    done = unit(host)
    assert done.rc == 1
    assert "has MIG instances that are not wanted and not known: 1g.10gb" in done.error_text
    assert profiles(host) == [
        Counter({"3g.40gb": 1, "1g.10gb": 1}),
        Counter({"3g.40gb": 1}),
    ], "the other GPU is cut all the same"


def test_mig_without_instances_comes_back_too(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80")
    carry_out(host, geometry="empty", persist=True)
    assert boot(host).rc == 0
    (gpu,) = host.observe()[GPUS_KEY]
    assert (gpu.mig_mode_current, gpu.instances) == (True, ())


def test_what_is_kept_follows_and_nothing_else_is_kept(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80", 2)
    carry_out(host, geometry="7x1g")
    assert kept(host) == {} and not (host.root / UNIT_FILE[1:]).exists()
    carry_out(host, geometry="7x1g", gpus=0, persist=True)
    uuid = host.observe()[GPUS_KEY][0].uuid
    carry_out(host, geometry="2x3g")
    assert kept(host) == {uuid: "3g.40gb@4:4 3g.40gb@0:4"}
    assert host.plan(geometry="2x3g").changes == ()


@pytest.mark.parametrize("more", [{"geometry": "7x1g", "persist": False}, {"geometry": "off"}])
def test_no_longer_kept(more: dict[str, Any], tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80")
    carry_out(host, geometry="7x1g", persist=True)
    changes = carry_out(host, **more)
    assert changes[-1].summary == "no MIG at boot (gpurun-mig.service)"
    assert kept(host) == {}
    assert host.plan(**more).changes == ()


def test_a_unit_that_somebody_has_changed_is_written_anew(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80")
    carry_out(host, geometry="7x1g", persist=True)
    (host.root / SCRIPT[1:]).write_text("#!/bin/sh\n")
    (change,) = carry_out(host, geometry="7x1g", persist=True)
    assert change.summary.startswith("MIG of GPU 0 comes back at boot")
    assert boot(host).rc == 0 and profiles(host) == [Counter({"1g.10gb": 7})]


def test_the_way_back(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80")
    _, keep = carry_out(host, geometry="7x1g", persist=True)
    assert host.commands(keep.undo) is None
    assert kept(host) == {}
    assert not (host.root / UNIT_FILE[1:]).exists() and not (host.root / SCRIPT[1:]).exists()


def test_the_guard_sees_what_somebody_else_has_written(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80")
    _, keep = host.plan(geometry="7x1g", persist=True).changes
    assert host.sh(keep.guard).rc == 0
    (host.root / FOLDER[1:]).mkdir(parents=True)
    (host.root / FOLDER[1:] / "GPU-1").write_text("1g.10gb@0:1\n")
    assert host.sh(keep.guard).rc == 1


@pytest.mark.parametrize("text", ["", "none\nnone\n", "none\nnone\ndisabled\n$(reboot)\n"])
def test_what_cannot_be_understood_is_unknown(text: str) -> None:
    with pytest.raises(Unknown, match="cannot be read"):
        parse_kept(Result(0, text.encode()))
