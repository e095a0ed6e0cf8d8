"""The journal: on disk before and after, private, readable after a kill."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from runner.engine.events import Event
from runner.errors import GpurunError
from runner.journal.store import Journal, new_run_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


def test_a_run_is_found_by_id_by_its_beginning_and_as_last(path: Path) -> None:
    journal = Journal(path)
    journal.begin("20260101-000000-aaaa", "a.yaml", {"limit": None})
    journal.begin("20260102-000000-bbbb", "b.yaml", {})
    assert journal.run("20260101").playbook == "a.yaml"
    assert journal.run("20260102-000000-bbbb").playbook == "b.yaml"
    assert {run.id for run in journal.runs()} == {"20260101-000000-aaaa", "20260102-000000-bbbb"}
    with pytest.raises(GpurunError, match="several runs begin with '2026'"):
        journal.run("2026")
    with pytest.raises(GpurunError, match="no run begins with 'x'"):
        journal.run("x")


def test_events_are_on_disk_when_record_returns(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r", "a.yaml", {})
    journal.record("r", Event("step-started", "gpu-1", "copy", {"step": "tasks/0/0"}))
    (event,) = Journal(path).events("r")
    assert (event.kind, event.host, event.data["step"]) == ("step-started", "gpu-1", "tasks/0/0")


def test_a_resumed_run_is_open_again(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r", "a.yaml", {"x": 1})
    journal.end("r", "stopped")
    journal.begin("r", "a.yaml", {"x": 1})
    assert (journal.run("r").status, journal.run("r").ended) == ("running", "")


def test_only_one_process_may_go_on_with_a_run(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r", "a.yaml", {})
    with sqlite3.connect(path) as database:
        database.execute("UPDATE runs SET pid=4, status='failed', ended='then'")
    journal.reopen("r", 4)
    assert (journal.run("r").status, journal.run("r").ended) == ("running", "")
    with pytest.raises(GpurunError, match="being resumed by another process"):
        journal.reopen("r", 4)


def test_the_newest_run_that_may_have_left_something_is_found(path: Path) -> None:
    journal = Journal(path)
    for run, status in (("1", "done"), ("2", "failed"), ("3", "denied")):
        journal.begin(run, "a.yaml", {})
        journal.end(run, status)
    assert journal.run("unfinished").id == "2"
    journal.end("2", "done")
    assert journal.run("unfinished").id == journal.run("last").id == "3"


def test_the_file_is_private(path: Path) -> None:
    Journal(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_many_threads_may_write(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r", "a.yaml", {})
    threads = [
        threading.Thread(target=lambda: journal.record("r", Event("progress"))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.events("r")) == 20


def test_a_journal_of_a_newer_gpurun_is_not_touched(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(GpurunError, match="newer gpurun"):
        Journal(path)


def test_a_file_that_is_no_journal_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_text("this is not SQLite, it is a text of some length" * 10)
    with pytest.raises(GpurunError, match="cannot be used"):
        Journal(path)


def test_run_ids_are_unique_and_safe() -> None:
    made = {new_run_id() for _ in range(50)}
    assert len(made) > 45
    assert all(set(run) <= set("0123456789abcdef-") for run in made)


def test_a_journal_that_is_damaged_is_an_error_not_a_traceback(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r", "a.yaml", {})
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE runs RENAME TO lost")
        database.execute("ALTER TABLE events RENAME TO lost_events")
        database.execute("ALTER TABLE kept RENAME TO lost_kept")
    for look in (lambda: journal.run("r"), lambda: journal.events("r"), lambda: journal.kept("r")):
        with pytest.raises(GpurunError, match=r"the journal .* cannot be used: no such table"):
            look()


def test_a_killed_run_that_was_rolled_back_has_ended(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r", "a.yaml", {})
    journal.rolled_back("r")
    assert journal.run("r").status == "rolled back"
    assert journal.run("r").ended, "history would call it killed, and tell to resume it"
