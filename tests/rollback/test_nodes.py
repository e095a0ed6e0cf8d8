"""Which nodes a rollback takes over from a run that left them out of service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.engine.events import Event
from runner.engine.kept import KeptChange
from runner.engine.rollback import Rollback, roll_back
from runner.errors import GpurunError, Origin
from runner.inventory.model import Host, Inventory
from runner.modules.base import Disruption
from runner.playbook.load import load_playbook

PLAYBOOK = "- {name: p, hosts: all, tasks: [{name: t, copy: {dest: /f, content: x}}]}"
FILE = KeptChange(
    "gpu-1", "p", 1, "tasks/0/0", "t", "create /f", "/f", {"kind": "absent"}, {"kind": "file"}
)
OTHER = KeptChange("gpu-1", "p", 1, "tasks/1/0", "partition", "GPU 0: none -> 7x")
DONE = Event("host-done", "gpu-1", data={"left": ""})


def rolled_back(tmp_path: Path, kept: list[KeptChange], events: list[Event]) -> Rollback:
    path = tmp_path / "p.yaml"
    path.write_text(PLAYBOOK)
    names = ("gpu-1", "gpu-2")
    hosts = {name: Host(name, "192.0.2.1", Origin("hosts.yaml", 1, 1)) for name in names}
    inventory = Inventory((), hosts, {"all": names})
    return roll_back("run-1", kept, events, load_playbook(path), inventory)


HAPPENED = {
    **{
        kind: Event(kind, "gpu-1", data={"step": OTHER.step})
        for kind in ("step-started", "step-done", "step-failed")
    },
    **{
        status: Event("host-done", "gpu-1", data={"status": status})
        for status in ("ok", "failed", "drifted", "unreachable")
    },
}


@pytest.mark.parametrize(
    ("disruption", "events", "may_stay"),
    [
        (Disruption.NONE, "step-started step-done ok", False),
        (Disruption.GPU, "step-started step-done ok", True),
        (Disruption.GPU, "step-started step-failed failed", True),
        (Disruption.GPU, "step-started", True),
        (Disruption.GPU, "ok step-started", True),
        (Disruption.GPU, "step-started unreachable", True),
        (Disruption.GPU, "step-started drifted", False),
        (Disruption.GPU, "ok", False),
    ],
)
def test_a_node_where_something_disrupting_may_stay_is_not_given_back(
    tmp_path: Path, disruption: Disruption, events: str, may_stay: bool
) -> None:
    other = replace(OTHER, disruption=int(disruption))
    made = rolled_back(tmp_path, [FILE, other], [HAPPENED[word] for word in events.split()])
    assert ("gpu-1" not in made.heirs) is may_stay
    assert "gpu-2" in made.heirs
    assert bool(made.not_undone) is ("step-done" in events or may_stay)


@pytest.mark.parametrize(
    ("events", "looked_at"),
    [
        ([], "gpu-1"),
        ([Event("host-planned", "gpu-2")], "gpu-1"),
        ([Event("progress", "gpu-2", "cordoned gpu-2")], "gpu-1,gpu-2"),
        ([Event("progress", "gpu-2"), Event("host-done", "gpu-2", data={"left": ""})], "gpu-1"),
        ([Event("host-done", "gpu-2", data={"left": "stays cordoned"})], "gpu-1,gpu-2"),
    ],
)
def test_a_node_that_was_cordoned_before_anything_was_changed_is_given_back(
    tmp_path: Path, events: list[Event], looked_at: str
) -> None:
    (play,) = rolled_back(tmp_path, [FILE], [DONE, *events]).playbook.plays
    assert play.hosts == looked_at


def test_where_no_file_comes_back_a_node_that_was_left_is_named(tmp_path: Path) -> None:
    with pytest.raises(GpurunError, match="nothing that can be brought back") as raised:
        rolled_back(tmp_path, [OTHER], [Event("progress", "gpu-1", "cordoned gpu-1")])
    assert raised.value.hint == "gpurun resume run-1 goes on with gpu-1"
