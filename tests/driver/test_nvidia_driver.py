"""`nvidia_driver`: what it would install, what it refuses, what it keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.facts import driver_history
from runner.facts.driver_history import BEFORE_KEY, PREVIOUS_KEY, Previous, Services
from runner.facts.driver_packages import is_part, of_branch, parse, upstream
from runner.facts.nvidia import DRIVER_KEY, Driver, Gpus
from runner.hosts.script import Command, Result
from runner.modules.base import Change, Disruption, Outcome, Refused, Risk, Unknown
from runner.modules.registry import load_module
from tests.driver.states import BOOT, NEW, OLD, UPGRADED, gpu, host, look, plan, with_packages

GPUS = Gpus([gpu(0, slices=2), gpu(1)])


def ask(*edits: tuple[str, str], name: str = "look_550_to_570", **arguments: Any) -> Outcome:
    arguments = arguments or {"version": NEW}
    observed = host(gpus=GPUS, active=("nvidia-persistenced",))
    observed = with_packages(observed, look(name, *edits), **arguments)
    return plan("nvidia_driver", observed, **arguments)


def only(outcome: Outcome) -> Change:
    (change,) = outcome.changes
    return change


def command(change: Change, key: str) -> Command:
    (found,) = [one for one in change.do if isinstance(one, Command) and one.key == key]
    return found


def test_exactly_what_apt_simulated_is_fetched_and_then_installed() -> None:
    change = only(ask())
    assert (change.risk, change.disruption) == (Risk.HIGH, Disruption.GPU)
    assert change.summary.startswith(
        "NVIDIA driver 550.90.07 -> 570.86.15 (proprietary): installs nvidia-driver-570-server and "
        "4 more that they need; removes libnvidia-compute-550-server"
    )
    install, fetch = command(change, "install").shell, command(change, "fetch").shell
    assert len(change.after) == 10
    for name, version in change.after.items():
        assert (f" {name}={version}" if version else f" {name}-") in install
    assert fetch.replace(" --download-only", "") == install
    keys = [one.key for one in change.do if isinstance(one, Command)]
    assert keys == ["keep gpus.json", "keep previous.json", "fetch", "install", "hold"]


def test_nothing_is_left_once_it_is_done() -> None:
    observed = with_packages(host(gpus=GPUS), look(), version=NEW)
    first = only(plan("nvidia_driver", observed, version=NEW))
    again = plan("nvidia_driver", {**observed, **first.overlay}, version=NEW)
    assert again.changes == ()
    assert first.overlay[DRIVER_KEY] == replace(UPGRADED, reason="")


def test_what_the_node_has_is_kept_before_anything_changes() -> None:
    change = only(ask())
    gpus = json.loads(command(change, "keep gpus.json").stdin)
    assert [one["mig"] for one in gpus["gpus"]] == [{"1g.10gb": 2}, "off"]
    assert (gpus["services"], gpus["xids"]) == (["nvidia-persistenced"], 0)
    previous = json.loads(command(change, "keep previous.json").stdin)
    assert (previous["version"], previous["flavour"]) == (OLD, "proprietary")
    assert previous["packages"]["nvidia-utils-550-server"] == "550.90.07-0ubuntu1"


def test_going_back_keeps_the_way_back_as_it_is() -> None:
    observed = host(gpus=GPUS, more={PREVIOUS_KEY: Previous(NEW, "proprietary", {})})
    change = only(plan("nvidia_driver", with_packages(observed, look(), version=NEW), version=NEW))
    assert PREVIOUS_KEY not in change.overlay and BEFORE_KEY in change.overlay


@pytest.mark.parametrize("boot_id", [BOOT, "another boot"])
def test_packages_of_the_driver_that_is_loaded_end_a_mismatch(boot_id: str) -> None:
    """Back from an upgrade that was not loaded: there is nothing to reload, and no reboot."""
    had = driver_history.before(GPUS, Services(("nvidia-persistenced",)), boot_id)
    other = Driver(OLD, NEW, True, "Driver/library version mismatch", "proprietary", "proprietary")
    observed = with_packages(host(other, None, more={BEFORE_KEY: had}), look(), version=NEW)
    after = {**observed, **only(plan("nvidia_driver", observed, version=NEW)).overlay}
    assert after[DRIVER_KEY] == replace(other, installed=NEW, mismatch=False, reason="")
    assert plan("driver_reload", after).changes == ()
    restored = [change.summary for change in plan("gpu_restore", after).changes]
    lost = ["GPU 0: MIG off -> 2x 1g.10gb"] if boot_id != BOOT else []
    assert restored[:-1] == [*lost, "start nvidia-persistenced"], "the loaded driver keeps MIG"
    assert restored[-1].startswith("see that GPUs and services are as before")


def test_of_a_driver_that_does_not_work_nothing_can_be_kept() -> None:
    observed = host(driver=Driver("", "", None, "nvidia-smi failed"))
    change = only(plan("nvidia_driver", with_packages(observed, look(), version=NEW), version=NEW))
    assert next(one.key for one in change.do if isinstance(one, Command)) == "fetch"


def test_the_undo_installs_what_was_there_and_starts_what_ran() -> None:
    back, started = only(ask()).undo
    assert " nvidia-driver-550-server=550.90.07-0ubuntu1" in back.shell
    assert " nvidia-driver-570-server-" in back.shell
    assert started.shell.startswith("systemctl start nvidia-persistenced && rm -f ")


@pytest.mark.parametrize("known", [None, Previous("535.161.07", "open", {})])
def test_after_the_undo_the_way_back_leads_to_what_the_host_has(known: Previous | None) -> None:
    """So that driver-rollback gives the node back instead of going further back, or nowhere."""
    observed = host(gpus=GPUS, more={PREVIOUS_KEY: known})
    change = only(plan("nvidia_driver", with_packages(observed, look(), version=NEW), version=NEW))
    assert json.loads(command(change, "keep previous.json").stdin)["version"] == OLD
    undone = [one for one in change.undo if isinstance(one, Command)]
    assert not any("previous.json" in one.key + one.shell for one in undone)


INST = "Inst nvidia-utils-570-server (570.86.15-0ubuntu1 gpurun-lab:localhost [amd64])"
OFFERED = "        500 file:/srv/lab-repo ./ Packages\n"


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ([("== host\n", "== host\nrunfile\n")], "run nvidia-uninstall first"),
        ([("== host\n", "== host\npinned 580\n")], "keeps the driver at 580"),
        ([(" headers\n", " none\n")], "install linux-headers-6.8.0-60-generic"),
        (
            [("== host\n", "== host\nkernel 6.8.0-71-generic none\n")],
            "cannot be built for 6.8.0-71-generic",
        ),
        ([("SecureBoot disabled", "SecureBoot enabled")], "Secure Boot is on"),
        ([(OFFERED, "")], "no source of this host offers nvidia-driver-550-server=550.90.07"),
        ([(INST, INST.replace("570.86.15", "570.86.16"))], "nvidia-utils-570-server 570.86.16"),
        ([(INST, INST.replace("gpurun-lab", "NVIDIA"))], "several sources (NVIDIA:localhost; gpu"),
        ([(INST, f"{INST}\nRemv slurmd [23.1]")], "remove other packages: slurmd"),
        (
            [(INST, f"{INST}\nInst gcc [12] (13 Debian [amd64])"), ("== held\n", "== held\ngcc\n")],
            "held packages would change: gcc",
        ),
        ([("== unfinished\n", "== unfinished\nslurmd\n")], "unfinished work (slurmd)"),
    ],
)
def test_what_is_refused(edits: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        ask(*edits)
    assert reason in str(refused.value)


def test_a_pin_to_the_wanted_branch_is_no_obstacle() -> None:
    assert only(ask(("== host\n", "== host\npinned 570\n")))


def test_secure_boot_with_an_enrolled_key_is_no_obstacle() -> None:
    assert only(ask(("SecureBoot disabled", "SecureBoot enabled\nenrolled")))


def test_secure_boot_that_cannot_be_read_is_unknown() -> None:
    with pytest.raises(Unknown, match="Secure Boot"):
        ask(("SecureBoot disabled", "Cannot determine secure boot state."))


def test_without_a_way_back_only_where_it_is_said() -> None:
    change = only(ask((OFFERED, ""), version=NEW, without_way_back=True))
    assert change.undo == ()


def test_a_package_that_only_leads_to_another_branch_is_refused() -> None:
    with pytest.raises(Refused, match="would not come to 565: libnvidia-compute-580-server 580"):
        ask(name="look_550_to_565", branch=565)


def test_a_version_that_nobody_offers_says_what_to_look_at_and_what_there_is() -> None:
    lost = "E: Unable to locate package nvidia-driver-570-server\n== ended 100"
    with pytest.raises(Refused, match="are the package lists new") as caught:
        ask(("== ended 0", lost))
    assert "Sources offer" not in str(caught.value)
    offered = "== offered\n580.65.06-0ubuntu1\n550.90.07-0ubuntu1\n== policy\n"
    with pytest.raises(Refused, match=r"Sources offer 580\.65\.06, 550\.90\.07$"):
        ask(("== ended 0", lost), ("== policy\n", offered))


def test_instances_split_by_hand_could_not_be_made_again() -> None:
    cut = GPUS[0]
    part = replace(cut.instances[0], profile="2g.20gb", compute=("1c.2g.20gb",))
    gpus = Gpus([replace(cut, instances=(part,))])
    observed = with_packages(host(gpus=gpus), look(), version=NEW)
    with pytest.raises(Refused, match="GPU 0 has MIG instances that were split by hand"):
        plan("nvidia_driver", observed, version=NEW)


def installed(version: str, want: str = "hold") -> list[tuple[str, str]]:
    """The recorded packages as if the wanted version were installed and nothing to be done."""
    text = (Path(__file__).parent / "look_550_to_570.txt").read_text()
    simulated = text[text.index("== simulation") : text.index("== ended")]
    parts = text[text.index("== packages") : text.index("== unfinished")]
    now = parts.replace("-550-", "-570-").replace("550.90.07", version)
    return [
        (parts, now.replace(" install installed", f" {want} installed")),
        (simulated, "== simulation\n"),
    ]


READY = Driver(NEW, NEW, False, "", "proprietary", "proprietary")


def test_a_driver_as_wanted_and_held_is_left_alone() -> None:
    state = look("look_550_to_570", *installed(NEW))
    observed = with_packages(host(READY, GPUS), state, version=NEW)
    assert plan("nvidia_driver", observed, version=NEW).changes == ()


def test_any_version_of_a_branch_will_do() -> None:
    state = look("look_550_to_570", *installed("570.124.06"))
    driver = replace(READY, installed="570.124.06", loaded="570.124.06")
    observed = with_packages(host(driver, GPUS), state, branch="570")
    assert plan("nvidia_driver", observed, branch="570").changes == ()


def test_only_the_hold_is_missing() -> None:
    state = look("look_550_to_570", *installed(NEW, "install"))
    observed = with_packages(host(READY, GPUS), state, version=NEW)
    change = only(plan("nvidia_driver", observed, version=NEW))
    assert (change.risk, change.disruption) == (Risk.LOW, Disruption.NONE)
    assert change.summary.startswith("hold libnvidia-compute-570-server")


def test_packages_whose_module_was_not_built_are_not_fine() -> None:
    state = look("look_550_to_570", *installed(NEW))
    driver = replace(READY, installed="", loaded=OLD)
    observed = with_packages(host(driver, None), state, version=NEW)
    with pytest.raises(Refused, match="dkms has not built it"):
        plan("nvidia_driver", observed, version=NEW)


def test_what_dpkg_left_half_done_of_the_driver_is_finished() -> None:
    half = ("== unfinished\n", "== unfinished\nnvidia-dkms-570-server\n")
    state = look("look_550_to_570", *installed(NEW), half)
    observed = with_packages(host(UPGRADED), state, version=NEW)
    change = only(plan("nvidia_driver", observed, version=NEW))
    assert "finish what dpkg has begun" in change.summary
    assert command(change, "repair").shell.endswith("|| :")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nvidia-driver-570-server-open", True),
        ("libnvidia-compute-570", True),
        ("cuda-drivers-570", True),
        ("nvidia-driver-pinning-570", False),
        ("nvidia-container-toolkit", False),
        ("nvidia-settings", False),
        ("libnvidia-container1", False),
    ],
)
def test_which_packages_are_the_drivers(name: str, part: bool) -> None:
    assert is_part(name) is part


def test_versions() -> None:
    assert upstream("570.86.15-0ubuntu1~24.04") == NEW
    assert upstream("1:570.86.15-1") == NEW
    assert upstream("6.8.0-60.63") == ""
    assert of_branch(NEW, "570") and of_branch(NEW, NEW)
    assert not of_branch("5701.1.1", "570") and not of_branch("570.86.150", NEW)


@pytest.mark.parametrize("wrong", [{}, {"version": NEW, "branch": "570"}, {"version": "570"}])
def test_arguments_that_say_too_little_or_too_much(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"either version or branch|match pattern"):
        load_module("nvidia_driver").arguments.model_validate(wrong)


@pytest.mark.parametrize(("rc", "out"), [(127, ""), (1, "x"), (0, "== packages\n")])
def test_a_look_that_broke_off_is_unknown(rc: int, out: str) -> None:
    with pytest.raises(Unknown):
        parse(Result(rc, out.encode()))
