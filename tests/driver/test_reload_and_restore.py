"""`driver_reload` and `gpu_restore`: what is lost with the driver, and made again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runner.facts import driver_history
from runner.facts.driver_history import BEFORE_KEY, SERVICES_KEY, Before, Services
from runner.facts.fabric_manager import FABRIC_MANAGER_KEY, FabricManager
from runner.facts.nvidia import GPUS_KEY, Driver, Gpus
from runner.hosts.script import Command, Result
from runner.modules.base import Context, Disruption, Outcome, Refused, Risk, Unknown
from runner.modules.registry import load_module
from tests.driver.states import BOOT, NEW, OLD, UPGRADED, WORKING, gpu, host, plan

GPUS = Gpus([gpu(0, slices=7), gpu(1, "20B2", slices=7)])


def record(gpus: Gpus = GPUS, *services: str) -> Before:
    return driver_history.before(gpus, Services(services, (), 3), BOOT)


def summaries(outcome: Outcome) -> list[str]:
    return [change.summary for change in outcome.changes]


# ---- driver_reload ---------------------------------------------------------------------------


def test_a_driver_that_runs_already_is_left_alone() -> None:
    assert plan("driver_reload", host(WORKING, GPUS)).changes == ()


def test_force_reloads_it_and_is_content_afterwards() -> None:
    (change,) = plan("driver_reload", host(WORKING, GPUS), force=True).changes
    assert change.summary == f"load NVIDIA driver {OLD} in place of {OLD}"
    module = load_module("driver_reload")
    args = module.arguments.model_validate({"force": True})
    seen = module.plan(args, host(WORKING, GPUS), Context("gpu1", notified=False))
    assert seen.changes == ()


def test_another_module_on_disk_is_loaded_and_services_are_stopped_around_it() -> None:
    observed = host(UPGRADED, None, ("nvidia-persistenced",), more={BEFORE_KEY: record()})
    (change,) = plan("driver_reload", observed).changes
    assert (change.risk, change.disruption) == (Risk.HIGH, Disruption.GPU)
    assert change.summary == (
        f"load NVIDIA driver {NEW} in place of {OLD}, stopping and starting nvidia-persistenced"
    )
    assert plan("driver_reload", {**observed, **change.overlay}).changes == ()


def test_services_that_the_packages_have_stopped_are_started_too() -> None:
    had = record(GPUS, "nvidia-fabricmanager", "nvidia-persistenced")
    (change,) = plan("driver_reload", host(UPGRADED, None, more={BEFORE_KEY: had})).changes
    assert change.overlay[SERVICES_KEY].active == ("nvidia-persistenced", "nvidia-fabricmanager")


def test_the_other_flavour_of_the_same_version_is_another_module() -> None:
    driver = replace(WORKING, installed_flavour="open")
    assert plan("driver_reload", host(driver, GPUS)).changes


def test_hopper_loses_mig_mode_and_ampere_only_its_instances() -> None:
    driver = replace(UPGRADED, mismatch=False, reason="")
    (change,) = plan("driver_reload", host(driver, GPUS)).changes
    hopper, ampere = change.overlay[GPUS_KEY]
    assert (hopper.mig_mode_current, hopper.instances) == (False, ())
    assert (ampere.mig_mode_current, ampere.instances) == (True, ())
    assert hopper.persistence_mode is False, "no daemon keeps it"


def test_gpus_that_nvidia_smi_does_not_show_are_known_from_what_was_kept() -> None:
    observed = host(UPGRADED, None, more={BEFORE_KEY: record()})
    (change,) = plan("driver_reload", observed).changes
    assert [one.uuid for one in change.overlay[GPUS_KEY]] == ["GPU-0", "GPU-1"]


def test_where_nothing_is_known_of_the_gpus_it_is_said() -> None:
    outcome = plan("driver_reload", host(UPGRADED))
    assert "what MIG geometry the GPUs had is not known" in outcome.messages[0]
    assert GPUS_KEY not in outcome.changes[0].overlay


@pytest.mark.parametrize(
    ("driver", "modules", "reason"),
    [
        (Driver(reason="no NVIDIA driver is installed"), (), "no NVIDIA kernel module on disk"),
        (UPGRADED, ("nouveau",), "nouveau"),
        (replace(WORKING, mismatch=True, reason="mismatch"), (), "a reload does not help"),
    ],
)
def test_what_a_reload_cannot_cure_is_refused(
    driver: Driver, modules: tuple[str, ...], reason: str
) -> None:
    observed = host(driver, None, more={SERVICES_KEY: Services((), modules, 0)})
    with pytest.raises(Refused, match=reason):
        plan("driver_reload", observed)


# ---- gpu_restore -----------------------------------------------------------------------------


def after_reload(had: Before, *active: str, **driver: Any) -> dict[str, Any]:
    """The node after a reload: no instances, on Hopper no MIG mode."""
    bare = [replace(one, instances=(), persistence_mode=False) for one in GPUS]
    gpus = Gpus([replace(bare[0], mig_mode_current=False, mig_mode_pending=False), bare[1]])
    new = replace(WORKING, installed=NEW, loaded=NEW, **driver)
    return host(new, gpus, active, more={BEFORE_KEY: had})


def test_without_a_record_there_is_nothing_to_restore() -> None:
    assert plan("gpu_restore", host(WORKING, GPUS)).changes == ()


def test_mig_services_and_persistence_come_back_and_the_record_goes_last() -> None:
    observed = after_reload(record(GPUS, "nvidia-dcgm"))
    outcome = plan("gpu_restore", observed)
    assert summaries(outcome) == [
        "GPU 0: MIG off -> 7x 1g.10gb; GPU 1: MIG no instances -> 7x 1g.10gb",
        "start nvidia-dcgm",
        "GPU 0, 1: persistence mode on",
        "see that GPUs and services are as before, then remove what was kept of them",
    ]
    for change in outcome.changes:
        observed.update(change.overlay)
    assert plan("gpu_restore", observed).changes == ()


@pytest.mark.parametrize(
    ("fabric", "manager", "starts"),
    [
        ("In Progress", FabricManager(NEW, enabled=True), True),
        ("In Progress", FabricManager(NEW), False),
        ("In Progress", FabricManager(NEW, active=True, enabled=True), False),
        ("Completed", FabricManager(NEW, enabled=True), False),
        (None, FabricManager(NEW, enabled=True), False),
    ],
    ids=["waits", "somebody has disabled it", "runs", "joined", "no NVSwitches"],
)
def test_gpus_that_wait_for_the_fabric_manager_get_it(
    fabric: str | None, manager: FabricManager, starts: bool
) -> None:
    gpus = Gpus([replace(one, fabric=fabric) for one in GPUS])
    more = {BEFORE_KEY: record(), FABRIC_MANAGER_KEY: manager}
    outcome = plan("gpu_restore", host(WORKING, gpus, (), more=more))
    assert ("start nvidia-fabricmanager" in summaries(outcome)) is starts


def test_the_daemon_sets_persistence_mode_itself() -> None:
    outcome = plan("gpu_restore", after_reload(record(GPUS, "nvidia-persistenced")))
    assert "start nvidia-persistenced" in summaries(outcome)
    assert not any("persistence mode" in text for text in summaries(outcome))


def test_the_end_is_judged_on_the_host() -> None:
    *_, end = plan("gpu_restore", after_reload(record())).changes
    (command,) = end.do
    assert isinstance(command, Command)
    assert "for u in GPU-0 GPU-1" in command.shell and "known=3" in command.shell


def test_mig_that_was_on_and_empty_is_on_and_empty() -> None:
    empty = Gpus([replace(GPUS[0], instances=()), GPUS[1]])
    first, *_ = plan("gpu_restore", after_reload(record(empty))).changes
    assert first.summary.startswith("GPU 0: MIG off -> no instances")


def test_a_gpu_that_is_gone_is_not_passed_over() -> None:
    had = record(Gpus([*GPUS, gpu(2)]))
    with pytest.raises(Refused, match=r"do not answer now: 2 \(GPU-2\)"):
        plan("gpu_restore", after_reload(had))


def test_the_driver_comes_first() -> None:
    with pytest.raises(Refused, match="`driver_reload` or a reboot comes first"):
        plan("gpu_restore", host(UPGRADED, None, more={BEFORE_KEY: record()}))


def test_gpus_that_are_not_shown_are_unknown() -> None:
    with pytest.raises(Unknown, match="does not show the GPUs"):
        plan("gpu_restore", host(WORKING, None, more={BEFORE_KEY: record()}))


# ---- what is kept on the host ----------------------------------------------------------------


def test_what_was_kept_is_read_back_as_it_was() -> None:
    had = record(GPUS, "nvidia-dcgm")
    body = driver_history.keep("gpus.json", had).stdin
    assert driver_history.parse_before(Result(0, body)) == had
    assert driver_history.parse_before(Result(0, b"")) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"gpus": [{"index": 0}]}'])
def test_a_record_that_is_not_understood_is_unknown(text: str) -> None:
    with pytest.raises(Unknown, match="look at it, then remove it"):
        driver_history.parse_before(Result(0, text.encode()))


def test_the_services_look() -> None:
    said = b"active nvidia-persistenced\nmodule nvidia_uvm\nmodule nvidia\nxids 2\n"
    assert driver_history.parse_services(Result(0, said)) == Services(
        ("nvidia-persistenced",), ("nvidia_uvm", "nvidia"), 2
    )
    assert driver_history.parse_services(Result(0, b"")).xids is None


def test_mismatch_shows_no_gpus_and_is_no_error() -> None:
    text = b"Failed to initialize NVML: Driver/library version mismatch\n"
    assert driver_history.parse_gpus_seen(Result(18, text)) is None
