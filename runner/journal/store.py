"""The journal: every run and every step, written to SQLite before and after it happens."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.engine.events import Event
from runner.engine.kept import KeptChange
from runner.errors import GpurunError

VERSION = 2
ROLLED_BACK = "rolled back"
FINISHED = ("done", "denied", ROLLED_BACK)
"""How a run ends that leaves nothing behind."""

_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, started TEXT NOT NULL, ended TEXT, status TEXT NOT NULL,
    playbook TEXT NOT NULL, arguments TEXT NOT NULL, pid INTEGER NOT NULL
);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES runs(id),
    time TEXT NOT NULL, host TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, data TEXT NOT NULL
);
CREATE INDEX events_of_run ON events(run, number);
"""
_SCHEMA_2 = """
CREATE TABLE kept (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES runs(id),
    change TEXT NOT NULL, content BLOB
);
CREATE INDEX kept_of_run ON kept(run, number);
"""
_SCHEMAS = (_SCHEMA, _SCHEMA_2)
"""What each version adds to the one before."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as the journal knows it. `ended` is empty while it runs or when it was killed."""

    id: str
    started: str
    ended: str
    status: str
    playbook: str
    arguments: Mapping[str, Any]
    pid: int

    @property
    def predecessors(self) -> set[str]:
        """The runs that it brings back or takes nodes over from."""
        found = (self.arguments.get("rollback"), self.arguments.get("take_over"))
        return {str(run) for run in found if run}


def default_path() -> Path:
    """$GPURUN_JOURNAL, else $XDG_STATE_HOME/gpurun/journal.sqlite (~/.local/state)."""
    named = os.environ.get("GPURUN_JOURNAL")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "gpurun" / "journal.sqlite"


def new_run_id() -> str:
    """Sortable by time, unique, safe in names: 20261124-173512-4fa2."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


class Journal:
    """An open journal, usable from several threads.

    Raises:
        GpurunError: the file cannot be opened or written, or is of a newer gpurun.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._db = sqlite3.connect(path, check_same_thread=False, timeout=30)
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> GpurunError:
        return GpurunError(
            f"the journal {self._path} cannot be used: {error}",
            "GPURUN_JOURNAL names another file",
        )

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise GpurunError(f"the journal {self._path} is of a newer gpurun")
            for schema in _SCHEMAS[version:]:
                for statement in schema.split(";\n"):
                    if statement.strip():
                        self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with self._lock, self._db:
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def begin(self, run: str, playbook: str, arguments: Mapping[str, Any]) -> None:
        """Record a run before anything is done; a resumed one is opened again."""
        self._write(
            "INSERT INTO runs VALUES (?, ?, '', 'running', ?, ?, ?)"
            " ON CONFLICT(id) DO UPDATE SET ended='', status='running', pid=excluded.pid",
            (run, _now(), playbook, json.dumps(dict(arguments)), os.getpid()),
        )

    def reopen(self, run: str, pid: int) -> None:
        """Go on with a run that process `pid` had; only one process can.

        Raises:
            GpurunError: another process was faster.
        """
        try:
            with self._lock, self._db:
                mine = self._db.execute(
                    "UPDATE runs SET ended='', status='running', pid=? WHERE id=? AND pid=?",
                    (os.getpid(), run, pid),
                ).rowcount
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        if not mine:
            raise GpurunError(
                f"run {run} is being resumed by another process",
                "gpurun history shows when it has ended",
            )

    def end(self, run: str, status: str) -> None:
        """Record how a run ended: done, failed, or interrupted."""
        self._write("UPDATE runs SET ended=?, status=? WHERE id=?", (_now(), status, run))

    def record(self, run: str, event: Event) -> None:
        """Write one event; on disk when this returns."""
        self._write(
            "INSERT INTO events(run, time, host, kind, text, data) VALUES (?, ?, ?, ?, ?, ?)",
            (
                run,
                event.time.isoformat(timespec="milliseconds"),
                event.host,
                event.kind,
                event.text,
                json.dumps(event.data, default=str),
            ),
        )

    def keep(self, run: str, kept: Sequence[KeptChange]) -> None:
        """Write what is about to be changed; on disk when this returns. Contents are compressed."""
        rows = [(run, *_kept_row(each)) for each in kept]
        try:
            with self._lock, self._db:
                self._db.executemany(
                    "INSERT INTO kept(run, change, content) VALUES (?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def kept(self, run: str) -> list[KeptChange]:
        """What a run has kept of its changes, oldest first."""
        rows = self._read("SELECT change, content FROM kept WHERE run=? ORDER BY number", (run,))
        return [_kept(change, content) for change, content in rows]

    def rolled_back(self, run: str) -> None:
        """Record that what a run changed was brought back: it is not to be resumed. One that was
        killed has ended by that."""
        self._write(
            "UPDATE runs SET status=?, ended=coalesce(nullif(ended, ''), ?) WHERE id=?",
            (ROLLED_BACK, _now(), run),
        )

    def successors(self, run: str) -> list[RunRecord]:
        """The runs that brought `run` back or took nodes over from it, newest first."""
        return [later for later in self.runs(10_000) if run in later.predecessors]

    def runs(self, limit: int = 50) -> list[RunRecord]:
        """The latest runs, newest first."""
        rows = self._read(
            "SELECT id, started, ended, status, playbook, arguments, pid FROM runs"
            " ORDER BY started DESC, id DESC LIMIT ?",
            (limit,),
        )
        return [_record(row) for row in rows]

    def run(self, run: str) -> RunRecord:
        """One run by its id or an unambiguous beginning of it; "last" is the newest, and
        "unfinished" the newest that may hold a node or be owed something, else the newest. One
        that was brought back or taken over, be it in part, has to be named.

        Raises:
            GpurunError: none or several match.
        """
        if run == "unfinished":
            runs = self.runs(10_000)
            succeeded = {earlier for each in runs for earlier in each.predecessors}
            open_runs = (r.id for r in runs if r.status not in FINISHED and r.id not in succeeded)
            run = next(open_runs, "last")
        found = self.runs(1) if run == "last" else [r for r in self.runs(10_000) if r.id == run]
        found = found or [r for r in self.runs(10_000) if r.id.startswith(run)]
        if run == "last" and not found:
            raise GpurunError(f"there are no runs yet in {self._path}")
        if len(found) != 1:
            what = "several runs begin" if found else "no run begins"
            raise GpurunError(f"{what} with '{run}' in {self._path}", "gpurun history lists them")
        return found[0]

    def events(self, run: str) -> list[Event]:
        """All events of a run, oldest first."""
        rows = self._read(
            "SELECT kind, host, text, data, time FROM events WHERE run=? ORDER BY number", (run,)
        )
        return [
            Event(kind, host, text, json.loads(data), datetime.fromisoformat(time))
            for kind, host, text, data, time in rows
        ]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _record(row: tuple[Any, ...]) -> RunRecord:
    run, started, ended, status, playbook, arguments, pid = row
    return RunRecord(run, started, ended or "", status, playbook, json.loads(arguments), pid)


def _kept_row(kept: KeptChange) -> tuple[str, bytes | None]:
    change = asdict(kept)
    content = change.pop("content")
    return json.dumps(change), None if content is None else zlib.compress(content)


def _kept(change: str, content: bytes | None) -> KeptChange:
    values = json.loads(change)
    values["handlers"] = tuple(values["handlers"])
    return KeptChange(**values, content=None if content is None else zlib.decompress(content))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
