"""The ladder: what each XID of the catalogue, each state and each history asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runner.facts.gpu_health import GpuHealth, Health
from runner.facts.xid_catalog import catalog, shipped
from runner.facts.xid_history import Attempt
from runner.facts.xids import KernelLog, PodProcess, Xid
from runner.modules.xid_decision import Decision, Limits, Rung, Uncatalogued, decide

PCI = "0000:05:00"
GPU = GpuHealth(PCI, True, True, "GPU-1", "A100", "None", remap_pending=False, remap_failure=False)
POD = "11111111-2222-3333-4444-555555555555"

TABLE: dict[Rung, set[int]] = {
    Rung.RESTART_WORKLOAD: {8, 11, 13, 25, 31, 32, 39, 40, 41, 60, 68, 69, *range(70, 73)}
    | {*range(75, 78), 80, *range(82, 87), 88, 89, 94, *range(96, 106), *range(126, 136), 139},
    Rung.RESET_GPU: {46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158}
    | set(range(144, 151)),
    Rung.REBOOT: {79, 151},
    Rung.HAND_OVER: {54, 142},
}
"""All others are only observed."""


def decision(
    *codes: int, gpu: GpuHealth = GPU, history: tuple[Attempt, ...] = (), **more: Any
) -> Decision:
    xids = tuple(Xid(code, PCI, "text", 100.0 + n, pid=7) for n, code in enumerate(codes))
    log = KernelLog(more.pop("xids", xids), "boot", 200.0, 10_000, {7: PodProcess(POD, 50.0)})
    limits = Limits(**more.pop("limits", {}))
    (found,) = decide(Health((gpu,)), log, history, catalog(more.pop("own", None)), limits)
    return found


@pytest.mark.parametrize("code", sorted(set(shipped()) - {154}))
def test_the_whole_catalogue(code: int) -> None:
    wanted = next((rung for rung, codes in TABLE.items() if code in codes), Rung.OBSERVE)
    found = decision(code)
    assert found.rung is wanted, found.why
    assert found.code == code


def test_nothing_to_do_without_reports() -> None:
    assert decision().rung is Rung.NONE


def test_the_highest_rung_wins() -> None:
    found = decision(13, 95, 45)
    assert (found.rung, found.code, found.xids) == (Rung.RESET_GPU, 95, (13, 45, 95))


@pytest.mark.parametrize(
    ("severity", "rung"),
    [("Nonfatal", Rung.OBSERVE), ("Fatal", Rung.RESET_GPU), ("", Rung.RESET_GPU)],
)
def test_nvlink_goes_by_its_severity(severity: str, rung: Rung) -> None:
    assert decision(xids=(Xid(149, PCI, "", 100.0, severity=severity),)).rung is rung


@pytest.mark.parametrize(
    ("asked", "rung"),
    [
        ("Reset", Rung.RESET_GPU),
        ("Drain and Reset", Rung.RESET_GPU),
        ("Reboot", Rung.REBOOT),
        ("Drain P2P", Rung.HAND_OVER),
    ],
)
def test_what_the_driver_asks_for_wins(asked: str, rung: Rung) -> None:
    assert decision(13, gpu=replace(GPU, recovery_action=asked)).rung is rung
    assert decision(gpu=replace(GPU, recovery_action=asked)).rung is rung
    told = (Xid(142, PCI, "", 100.0), Xid(154, PCI, "", 101.0, recovery=asked))
    silent = replace(GPU, recovery_action=None)
    found = decision(xids=told, gpu=silent)
    assert (found.rung, found.code, found.upto) == (rung, 142, 101.0)
    assert decision(xids=told).rung is Rung.HAND_OVER, "what it says now counts, so the table does"


@pytest.mark.parametrize(
    ("asked", "rung"),
    [("Reboot", Rung.REBOOT), ("Drain P2P", Rung.HAND_OVER), ("Reset", Rung.NONE)],
)
def test_an_older_driver_that_needs_no_reset_may_need_a_reboot(asked: str, rung: Rung) -> None:
    """Before gpu_recovery_action nvidia-smi tells of resets only; Xid 154 in the log of more."""
    told = (Xid(154, PCI, "", 101.0, recovery=asked),)
    older = replace(GPU, resets_only=True)
    assert decision(xids=told, gpu=older).rung is rung
    assert decision(xids=told).rung is Rung.NONE, "a newer one has taken its word back"
    over = Xid(154, PCI, "", 150.0, recovery="None")
    assert decision(xids=(*told, over), gpu=older).rung is Rung.NONE


def test_a_driver_that_takes_its_word_back_settles_what_was_before() -> None:
    before = (Xid(95, PCI, "", 100.0), Xid(154, PCI, "", 101.0, recovery="Reset"))
    over = Xid(154, PCI, "", 150.0, recovery="None")
    assert decision(xids=(*before, over)).rung is Rung.NONE
    assert decision(xids=(*before, over, Xid(13, PCI, "", 160.0, 7))).rung is Rung.RESTART_WORKLOAD


def test_never_a_reset_off_the_bus() -> None:
    lost = GpuHealth(PCI, on_bus=False, answers=False)
    for found in (decision(95, gpu=lost), decision(79), decision(gpu=lost)):
        assert (found.rung, found.code) == (Rung.REBOOT, 79)
    assert decision(119, gpu=GpuHealth(PCI, True, False)).rung is Rung.REBOOT


def test_a_gpu_that_left_the_bus_altogether_is_still_decided_on() -> None:
    log = KernelLog((Xid(79, "0000:09:00", "", 1.0),), "boot", 2.0, 3)
    first, second = decide(Health((GPU,)), log, (), catalog(), Limits())
    assert (first.rung, second.rung) == (Rung.NONE, Rung.REBOOT)


@pytest.mark.parametrize(
    ("codes", "state", "rung"),
    [
        ((63,), {"remap_pending": True}, Rung.RESET_GPU),
        ((), {"remap_pending": True}, Rung.RESET_GPU),
        ((63,), {"remap_pending": False}, Rung.OBSERVE),
        ((63,), {"remap_pending": None}, Rung.RESET_GPU),
        ((), {"remap_pending": None}, Rung.NONE),
        ((64,), {"remap_failure": True}, Rung.HAND_OVER),
    ],
)
def test_rows_of_memory(codes: tuple[int, ...], state: dict[str, Any], rung: Rung) -> None:
    assert decision(*codes, gpu=replace(GPU, **state)).rung is rung


def attempt(
    action: Any = "reset_gpu", code: int = 95, boot: str = "before", **more: Any
) -> Attempt:
    return Attempt(
        PCI, code, action, boot, more.pop("upto", 100.0), more.pop("when", 9_000), **more
    )


def test_a_reset_that_did_not_help_is_followed_by_a_reboot() -> None:
    found = decision(95, history=(attempt(),))
    assert found.rung is Rung.REBOOT and "once reset for it in 24 h" in found.why
    assert decision(95, history=(attempt(code=119),)).rung is Rung.RESET_GPU, "for another XID"
    assert decision(95, history=(attempt(),), limits={"period": 500.0}).rung is Rung.RESET_GPU
    assert decision(95, history=(attempt(),), limits={"resets": 2}).rung is Rung.RESET_GPU
    broken_off = attempt(boot="boot", upto=100.0)
    assert decision(95, history=(broken_off,)).rung is Rung.REBOOT


def test_after_two_reboots_a_person_is_needed() -> None:
    first, second = attempt("reboot", 79, "a"), attempt("reboot", 79, "b")
    assert decision(79, history=(first,)).rung is Rung.REBOOT
    found = decision(79, history=(first, second))
    assert found.rung is Rung.HAND_OVER and "2 times rebooted" in found.why
    never_came = attempt("reboot", 79, "boot")
    assert decision(79, history=(first, never_came)).rung is Rung.REBOOT, "that was no reboot yet"


def test_where_power_can_be_switched_that_comes_before_a_person() -> None:
    boots = (attempt("reboot", 79, "a"), attempt("reboot", 79, "b"))
    can = {"power_cycles": 1}
    assert decision(79, history=boots[:1], limits=can).rung is Rung.REBOOT
    found = decision(79, history=boots, limits=can)
    assert found.rung is Rung.POWER_CYCLE and "2 times rebooted" in found.why
    found = decision(79, history=(*boots, attempt("power_cycle", 79, "c")), limits=can)
    assert (
        found.rung is Rung.HAND_OVER
        and "its power was switched once, which did not help either" in found.why
    )
    never_cut = attempt("power_cycle", 79, "boot")
    assert decision(79, history=(*boots, never_cut), limits=can).rung is Rung.POWER_CYCLE
    assert decision(54, limits=can).rung is Rung.HAND_OVER, "no power cycle cures that"


def test_what_was_done_is_done() -> None:
    done = attempt(boot="boot", done=True)
    assert decision(95, history=(done,)).rung is Rung.NONE
    assert decision(13, 95, history=(done,)).rung is Rung.REBOOT, "it came again"
    assert decision(95, history=(replace(done, gpu="0000:06:00"),)).rung is Rung.RESET_GPU


def test_old_reports_do_not_count_and_those_without_a_time_do() -> None:
    assert decision(95, limits={"since": 99.0}).rung is Rung.NONE
    assert decision(xids=(Xid(95, PCI, ""),), limits={"since": 1.0}).rung is Rung.RESET_GPU


def test_whose_workload_is_restarted() -> None:
    assert decision(13).pods == (POD,)
    younger = (Xid(13, PCI, "", 20.0, pid=7),)
    found = decision(xids=younger)
    assert found.rung is Rung.OBSERVE and "has ended" in found.why, "the pid is another's now"
    assert decision(xids=(Xid(13, PCI, "", 100.0),)).rung is Rung.OBSERVE


def test_a_site_knows_better() -> None:
    assert decision(63, own={63: {"immediate": "RESET_GPU"}}).rung is Rung.RESET_GPU
    assert decision(95, own={95: {"immediate": "IGNORE"}}).rung is Rung.OBSERVE


def test_an_xid_that_nobody_knows() -> None:
    with pytest.raises(Uncatalogued, match=r"XID 999 .*xid_catalog: \{999:"):
        decision(999)
    assert decision(999, own={999: {"immediate": "RESTART_APP"}}).rung is Rung.RESTART_WORKLOAD
    assert decision(999, gpu=replace(GPU, recovery_action="Reset")).rung is Rung.RESET_GPU
