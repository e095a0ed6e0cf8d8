"""Hosts without a cluster: who changes one holds a file on it, and costs no exec for that."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runner.engine import host_lock
from runner.engine import run as engine
from runner.engine.enact import HostRun
from runner.engine.events import Events
from runner.engine.host_lock import HostTaken, LockedHost, parse_lock
from runner.engine.maintenance import HostMaintenance
from runner.engine.run import Run
from runner.engine.settings import Settings
from runner.engine.stop import Stop
from runner.engine.unlocking import unlock_host
from runner.engine.work import Work
from runner.errors import GpurunError, Origin
from runner.hosts.errors import HostError
from runner.hosts.script import Block, Command
from runner.inventory.model import Host, Inventory
from runner.playbook.load import load_playbook
from tests.engine.local_host import LocalHost
from tests.engine.plays import OneHost
from tests.engine.test_run import Connection


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lock lies; its folder does not exist yet."""
    monkeypatch.setattr(host_lock, "FOLDER", str(tmp_path / "run"))
    monkeypatch.setattr(host_lock, "LOOK", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "run/lock"


def host(run: str = "run-1", **more: Any) -> LockedHost:
    return LockedHost(LocalHost(), run, f"me@here pid 1 {run}", **more)


def block(shell: str = ":", timeout: float = 30.0) -> Block:
    return Block("b", None, (Command("b", shell, timeout=timeout),))


def held_by(lock: Path, run: str, seconds: int) -> None:
    """A lock as a run left it, that holds for so long from now on."""
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(f"{run}\nyou@there pid 7\n1\n{int(time.time()) + seconds}\n")


class TestLock:
    def test_the_first_change_takes_it_in_the_same_exec(self, lock: Path) -> None:
        mine = host()
        (result,) = mine.change([block(f"cat {lock}")])
        assert result.status == "done"
        written = parse_lock(result.do[0].text)
        assert written is not None
        assert (written.run, written.holder) == ("run-1", "me@here pid 1 run-1")
        assert mine.connection.changes == [["gpurun:lock", "b"]]  # type: ignore[attr-defined]

    def test_it_holds_for_longer_than_what_runs_under_it(self, lock: Path) -> None:
        host().change([block(timeout=3600)])
        written = parse_lock(lock.read_text())
        assert written is not None
        assert int(written.until) - int(written.since) >= 3600

    def test_looking_needs_none(self, lock: Path) -> None:
        assert host().look([Command("x", "echo 1")])["x"].text == "1\n"
        assert not lock.exists()

    def test_unlocking_removes_it(self, lock: Path) -> None:
        mine = host()
        mine.change([block()])
        mine.unlock()
        assert not lock.exists()
        mine.unlock()
        assert len(mine.connection.changes) == 2  # type: ignore[attr-defined]

    def test_another_run_s_keeps_everything_from_being_done(
        self, lock: Path, tmp_path: Path
    ) -> None:
        held_by(lock, "other", 60)
        with pytest.raises(HostTaken, match=r"locked by you@there pid 7 \(run other\)"):
            host().change([block(f"touch {tmp_path}/done")])
        assert not (tmp_path / "done").exists()
        assert lock.read_text().startswith("other\n")

    @pytest.mark.parametrize(
        ("run", "more", "seconds"),
        [("run-1", {}, 60), ("old", {"heir_of": "old"}, 60), ("other", {}, 0)],
    )
    def test_ours_one_we_inherit_and_one_that_ran_out_are_taken(
        self, lock: Path, run: str, more: dict[str, Any], seconds: int
    ) -> None:
        held_by(lock, run, seconds)
        host(**more).change([block()])
        assert lock.read_text().startswith("run-1\n")

    @pytest.mark.parametrize("text", ["", "other\n", "a\nb\nc\nsoon\n"])
    def test_one_that_does_not_say_until_when_has_run_out(self, lock: Path, text: str) -> None:
        lock.parent.mkdir()
        lock.write_text(text)
        host().change([block()])
        assert lock.read_text().startswith("run-1\n")

    def test_it_is_waited_for_and_said(self, lock: Path) -> None:
        held_by(lock, "other", 600)
        said: list[str] = []

        def progress(text: str) -> None:
            said.append(text)
            lock.unlink()

        host(wait=60, progress=progress).change([block()])
        (text,) = said
        assert text.endswith("(run other); waiting 60 s for it")

    def test_a_stop_ends_the_waiting(self, lock: Path) -> None:
        held_by(lock, "other", 600)
        stop = threading.Event()
        stop.set()
        with pytest.raises(HostTaken):
            host(wait=60, stop=stop).change([block()])

    def test_of_many_at_once_one_gets_it(self, lock: Path) -> None:
        begin = threading.Barrier(6)
        won: list[str] = []

        def work(run: str) -> None:
            begin.wait(60)
            try:
                host(run).change([block()])
                won.append(run)
            except HostTaken:
                pass

        threads = [threading.Thread(target=work, args=(f"run-{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert won == [lock.read_text().splitlines()[0]]

    def test_one_that_cannot_be_written_is_told(self, lock: Path) -> None:
        lock.parent.write_text("a file")
        with pytest.raises(HostError, match="lock cannot be written"):
            host().change([block()])

    def test_nobody_removes_that_of_another(self, lock: Path) -> None:
        mine = host()
        mine.change([block()])
        held_by(lock, "other", 60)
        mine.unlock()
        assert lock.read_text().startswith("other\n")


class TestRuns:
    """The lock around the work of one host."""

    def run(self, tmp_path: Path) -> tuple[OneHost, Any]:
        file = tmp_path / "new"
        one = OneHost(tmp_path, f"- hosts: all\n  tasks: [{{copy: {{content: x, dest: {file}}}}}]")
        approved = one.plan()
        locked = LockedHost(one.local, "run-1", "me@here pid 1")
        work = Work(
            one.subject,
            approved,
            one.observed,
            locked,
            HostMaintenance(locked),
            Events([one.happened.append]),
            one.stop,
        )
        return one, HostRun(work).run()

    def test_it_costs_one_exec_more(self, tmp_path: Path, lock: Path) -> None:
        one, result = self.run(tmp_path)
        assert result.status == "changed"
        assert not lock.exists()
        assert [keys[0] for keys in one.local.changes] == ["gpurun:lock", "gpurun:lock"]

    def test_a_host_that_another_run_changes_is_denied(self, tmp_path: Path, lock: Path) -> None:
        held_by(lock, "other", 60)
        _, result = self.run(tmp_path)
        assert result.status == "denied"
        assert "the host is locked by you@there pid 7 (run other)" in result.reason
        assert not (tmp_path / "new").exists()


class TestUnlock:
    def unlock(self, tmp_path: Path, force: bool = False) -> list[str]:
        one = OneHost(tmp_path, "- hosts: all\n  tasks: []")
        return list(unlock_host(one.subject.host, LocalHost(), "it died", force))

    def test_one_that_ran_out(self, tmp_path: Path, lock: Path) -> None:
        held_by(lock, "other", 0)
        assert self.unlock(tmp_path) == [
            "host gpu-1 unlocked; it was held by you@there pid 7 (run other)"
        ]
        assert not lock.exists()
        assert lock.with_name("unlocked").read_text().endswith(": it died\n")

    def test_one_that_holds_stays_unless_forced(self, tmp_path: Path, lock: Path) -> None:
        held_by(lock, "other", 600)
        with pytest.raises(GpurunError, match=r"may work for \d+ s more"):
            self.unlock(tmp_path)
        assert lock.exists()
        self.unlock(tmp_path, force=True)
        assert not lock.exists()

    def test_that_of_a_dead_process_of_this_machine(self, tmp_path: Path, lock: Path) -> None:
        held_by(lock, "other", 600)
        lock.write_text(
            lock.read_text().replace("you@there pid 7", f"me@{socket.gethostname()} pid 4194305")
        )
        self.unlock(tmp_path)
        assert not lock.exists()

    def test_none(self, tmp_path: Path) -> None:
        assert self.unlock(tmp_path) == ["host gpu-1 is not locked"]


class TestPlan:
    """A plan says that another run has the host, and makes no look of its own to know it."""

    def gated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, **settings: Any
    ) -> tuple[str, str, int]:
        """The gate's verdict and reasons, and how many execs looked at the host."""
        looks: list[list[str]] = []

        class Counted(Connection):
            def look(self, commands: Any) -> Any:
                looks.append([command.key for command in commands])
                return super().look(commands)

        monkeypatch.setattr(engine, "Connection", Counted)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        (tmp_path / "playbook.yaml").write_text(text)
        hosts = {"gpu-1": Host("gpu-1", "192.0.2.1", Origin("hosts.yaml"))}
        run = Run(
            load_playbook(tmp_path / "playbook.yaml"),
            Inventory(("x",), hosts, {"all": ("gpu-1",)}),
            Settings(run="run-1", **settings),
            Events([]),
            lambda states: True,
            Stop(),
        )
        (state,) = run.plan()
        assert state.gate is not None, state.result
        return state.gate.verdict, "; ".join(state.gate.reasons), len(looks)

    def one_file(self, tmp_path: Path) -> str:
        task = f"copy: {{content: x, dest: {tmp_path}/file}}"
        return f"- name: x\n  hosts: all\n  become: false\n  tasks: [{{name: file, {task}}}]\n"

    def test_a_host_that_another_run_has_is_denied(
        self, tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = self.one_file(tmp_path)
        free = self.gated(tmp_path, monkeypatch, text)
        assert free == ("allow", "", 1), "the lock is read in the one look that is made"
        held_by(lock, "other", 60)
        why = "the host is locked by you@there pid 7 (run other)"
        assert self.gated(tmp_path, monkeypatch, text) == ("deny", why, 1)
        waiting = self.gated(tmp_path, monkeypatch, text, lock_timeout=60)
        assert waiting[0] == "allow", "apply waits for that run"

    @pytest.mark.parametrize(("run", "seconds"), [("other", 0), ("run-1", 60)])
    def test_one_that_ran_out_and_our_own_are_not_in_the_way(
        self, tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch, run: str, seconds: int
    ) -> None:
        held_by(lock, run, seconds)
        assert self.gated(tmp_path, monkeypatch, self.one_file(tmp_path))[0] == "allow"

    def test_nor_is_it_where_nothing_is_to_do(
        self, tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held_by(lock, "other", 60)
        text = "- name: x\n  hosts: all\n  tasks: [{name: x, debug: {msg: x}}]\n"
        assert self.gated(tmp_path, monkeypatch, text) == ("allow", "", 0)

    def test_a_lock_that_cannot_be_read_is_not_taken_for_free(
        self, tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock.mkdir(parents=True)  # cat fails on it
        verdict, why, _ = self.gated(tmp_path, monkeypatch, self.one_file(tmp_path))
        assert verdict == "deny" and "whether the lock of the host is free is not known" in why
