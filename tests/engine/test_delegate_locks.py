"""Hosts that tasks are delegated to are locked too: before anything begins, in one order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.engine import host_lock
from runner.engine import run as engine
from runner.engine.events import Events
from runner.engine.host_lock import HostTaken
from runner.engine.locks import SharedLease, together
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.states import HostState
from runner.engine.stop import Stop
from runner.errors import ClusterError, Origin
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.inventory.model import Host, Inventory
from runner.playbook.load import load_playbook
from tests.engine.test_run import Connection

ORIGIN = Origin("hosts.yaml", 1, 1)
SHELL = "shell: cat {lock} >> {out}\n      delegate_to: b"


class Apart(Connection):
    """A host whose lock is in a folder of its own, though all of them are this machine."""

    folder = Path()

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        return super().look([self._here(command) for command in commands])

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        return super().change(
            [replace(b, do=tuple(self._here(command) for command in b.do)) for b in blocks]
        )

    def _here(self, command: Command) -> Command:
        mine = str(self.folder / self.host.name)
        return replace(command, shell=command.shell.replace("/LOCKS", mine))


@pytest.fixture(autouse=True)
def hosts_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Apart, "folder", tmp_path)
    monkeypatch.setattr(engine, "Connection", Apart)
    monkeypatch.setattr(host_lock, "FOLDER", "/LOCKS")
    monkeypatch.setattr(host_lock, "LOOK", 0.01)
    monkeypatch.setattr(
        host_lock, "folder", lambda: "d=/LOCKS\n"
    )  # root's or not: the same in a test
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def run(
    folder: Path,
    task: str = SHELL,
    hosts: str = "a",
    verb: str = "apply",
    review: Callable[[Any], Any] = lambda states: None,
    wait: float = 0.0,
) -> list[HostState]:
    text = task.format(lock="/LOCKS/lock", out=folder / "out")
    playbook = folder / "playbook.yaml"
    playbook.write_text(
        f"- name: delegates\n  hosts: {hosts}\n  rollout: {{waves: ['100%']}}\n"
        f"  tasks:\n    - name: made\n      {text}\n"
    )
    known = {name: Host(name, f"192.0.2.{n}", ORIGIN) for n, name in enumerate("abc")}
    going = Run(
        load_playbook(playbook),
        Inventory(("x",), known, {"all": tuple(known)}),
        Settings(run="run-1", lock_timeout=wait),
        Events([]),
        lambda states: review(states) is None,
        Stop(),
    )
    states: list[HostState] = getattr(going, verb)()
    return states


def lock_of(folder: Path, name: str) -> Path:
    return folder / name / "lock"


def held_by_another(folder: Path, name: str) -> None:
    lock_of(folder, name).parent.mkdir(exist_ok=True)
    lock_of(folder, name).write_text(f"other\nyou@there pid 7\n1\n{int(time.time()) + 600}\n")


def test_it_is_held_while_it_is_changed_and_let_go_afterwards(tmp_path: Path) -> None:
    (state,) = run(tmp_path)
    assert state.result is not None and state.result.status == "changed", state.result
    assert (tmp_path / "out").read_text().startswith("run-1\n")
    assert not lock_of(tmp_path, "a").exists() and not lock_of(tmp_path, "b").exists()


def test_a_plan_says_who_has_it(tmp_path: Path) -> None:
    held_by_another(tmp_path, "b")
    task = "copy: {{content: x, dest: {out}}}\n      delegate_to: b"
    for verb in ("plan", "apply"):
        (state,) = run(tmp_path, task, verb=verb)
        assert state.result is not None and state.result.status == "denied"
        assert "delegate_to b: the host is locked by you@there pid 7" in state.result.reason
    assert not (tmp_path / "out").exists()


def test_one_that_is_taken_after_the_plan_keeps_all_from_being_begun(tmp_path: Path) -> None:
    task = f"shell: touch {tmp_path}/own\n    - name: there\n      {SHELL}"
    (state,) = run(tmp_path, task, review=lambda states: held_by_another(tmp_path, "b"))
    assert state.result is not None and state.result.status == "denied", state.result
    assert "delegate_to b: the host is locked by you@there" in state.result.reason
    assert not (tmp_path / "own").exists() and not (tmp_path / "out").exists()
    assert not lock_of(tmp_path, "a").exists(), "its own lock is free again"
    assert lock_of(tmp_path, "b").read_text().startswith("other\n")


def test_it_is_waited_for_as_the_host_itself(tmp_path: Path) -> None:
    held_by_another(tmp_path, "b")
    gone = threading.Timer(0.2, lock_of(tmp_path, "b").unlink)
    gone.start()
    (state,) = run(tmp_path, wait=60)
    gone.join()
    assert state.result is not None and state.result.status == "changed", state.result


def test_a_host_of_the_play_that_another_one_changes_too(tmp_path: Path) -> None:
    states = run(tmp_path, hosts="all")
    assert {state.result.status for state in states if state.result} == {"changed"}
    assert not any(lock_of(tmp_path, name).exists() for name in "abc")


def test_looking_needs_no_lock(tmp_path: Path) -> None:
    held_by_another(tmp_path, "b")
    (state,) = run(tmp_path, "command: {{cmd: 'true', read_only: true}}\n      delegate_to: b")
    assert state.result is not None and state.result.status == "ok", state.result


def test_the_machine_gpurun_runs_on_is_not_kept_from_other_runs(tmp_path: Path) -> None:
    held_by_another(tmp_path, "localhost")
    (state,) = run(tmp_path, f"shell: touch {tmp_path}/here\n      delegate_to: localhost")
    assert state.result is not None and state.result.status == "changed", state.result


class Noted:
    """A lock that notes what is done with it."""

    def __init__(self, order: str, log: list[str], free: bool = True) -> None:
        self.order, self.log, self.free = order, log, free

    def __enter__(self) -> Noted:
        self.log.append(f"{self.order} entered")
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append(f"{self.order} left")

    def take(self) -> None:
        if not self.free:
            raise ClusterError(f"{self.order} is locked")
        self.log.append(f"{self.order} taken")

    def lost(self) -> bool:
        return False


def test_all_runs_take_them_in_one_order() -> None:
    for own, other in (("file 1", "file 2"), ("file 2", "file 1")):
        log: list[str] = []
        with together(Noted(own, log), {"b": Noted(other, log)}):
            assert log == ["file 1 entered", "file 1 taken", "file 2 entered", "file 2 taken"]
        assert log[4:] == ["file 2 left", "file 1 left"]


def test_one_that_is_not_free_lets_the_others_go() -> None:
    log: list[str] = []
    others = {"b": Noted("2", log), "c": Noted("3", log, free=False)}
    with (
        pytest.raises(HostTaken, match="delegate_to c: 3 is locked"),
        together(Noted("1", log), others),
    ):
        raise AssertionError("not begun")
    assert log[-3:] == ["3 left", "2 left", "1 left"]


def test_without_others_the_first_change_takes_it() -> None:
    log: list[str] = []
    with together(Noted("1", log), {}):
        assert log == ["1 entered"]


def test_threads_of_one_run_share_a_lease() -> None:
    log: list[str] = []

    class Lease(Noted):
        lost = threading.Event()  # type: ignore[assignment]

    shared = SharedLease("lease b", lambda: Lease("lease b", log))  # type: ignore[arg-type,return-value]
    for _ in range(2):
        log.clear()
        with shared:
            with shared:
                assert not shared.lost()
            assert log == ["lease b entered"], "the other one still needs it"
            Lease.lost.set()
            assert shared.lost()
            Lease.lost.clear()
        assert log == ["lease b entered", "lease b left"]
