"""`gpu_persistence`: the daemon where there is one, `nvidia-smi -pm` for what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from runner.facts.nvidia import GPUS_KEY, Gpus
from runner.hosts.script import Command, Result
from runner.modules.base import Context, Disruption, Outcome, Refused, Risk, Unknown
from runner.modules.gpu_persistence import DAEMON_KEY, Daemon, parse_daemon
from runner.modules.registry import load_module
from tests.driver.states import gpu

RUNS = Daemon(installed=True, active=True, at_boot=True)
SHOWN = """\
ExecStart={{ path=/usr/bin/nvidia-persistenced ; argv[]=/usr/bin/nvidia-persistenced {options} ; }}
LoadState={load}
ActiveState={active}
UnitFileState={file}
"""


def shown(
    options: str = "", load: str = "loaded", active: str = "active", file: str = ""
) -> Daemon:
    text = SHOWN.format(options=options, load=load, active=active, file=file)
    return parse_daemon(Result(0, text.encode()))


def plan(daemon: Daemon, *modes: bool | None, **arguments: Any) -> Outcome:
    module = load_module("gpu_persistence")
    gpus = Gpus([gpu(n, persistence_mode=mode) for n, mode in enumerate(modes)])
    observed = {GPUS_KEY: gpus, DAEMON_KEY: daemon}
    args = module.arguments.model_validate(arguments)
    outcome = module.plan(args, observed, Context("gpu1"))
    view = observed | {k: v for change in outcome.changes for k, v in change.overlay.items()}
    assert module.plan(args, view, Context("gpu1")).changes == (), "the second run changes nothing"
    return outcome


def commands(outcome: Outcome) -> list[str]:
    return [one.shell for c in outcome.changes for one in c.do if isinstance(one, Command)]


def test_the_daemon_is_enabled_and_started_and_the_rest_is_set() -> None:
    outcome = plan(Daemon(installed=True), False, False)
    assert [change.summary for change in outcome.changes] == [
        "enable and start nvidia-persistenced",
        "GPU 0, 1: persistence mode on",
    ]
    assert all((c.risk, c.disruption) == (Risk.LOW, Disruption.NONE) for c in outcome.changes)
    assert commands(outcome)[-1] == "nvidia-smi -i GPU-0,GPU-1 -pm 1"
    assert outcome.messages == ()


def test_where_all_is_so_nothing_is_done() -> None:
    assert plan(RUNS, True, True).changes == ()


def test_without_the_daemon_it_is_said_that_a_boot_loses_the_mode() -> None:
    outcome = plan(Daemon(), True, False)
    assert commands(outcome) == ["nvidia-smi -i GPU-1 -pm 1"]
    assert outcome.result == {"survives_boot": False}
    assert "not installed" in outcome.messages[0]


def test_off_for_one_gpu_leaves_the_daemon_alone() -> None:
    outcome = plan(RUNS, True, True, gpus=1, mode="disabled")
    assert commands(outcome) == ["nvidia-smi -i GPU-1 -pm 0"]


def test_a_mode_that_is_not_shown_is_unknown() -> None:
    with pytest.raises(Unknown, match="no persistence mode of GPU 1"):
        plan(RUNS, True, None)


def test_a_masked_daemon_is_left_masked() -> None:
    with pytest.raises(Refused, match="masked"):
        plan(shown(load="masked", active="inactive", file="masked"), False)


def test_the_unit_is_read_as_systemd_shows_it() -> None:
    assert shown(file="static") == RUNS
    assert not shown(file="disabled").at_boot
    assert not shown("--user nvidia-persistenced --no-persistence-mode").keeps_mode
    assert not shown(load="not-found", active="inactive").installed
    assert not parse_daemon(Result(0)).installed, "a host without systemd"
    with pytest.raises(Unknown):
        parse_daemon(Result(1, b"", b"Failed to connect to bus"))
