"""The objects of the lab's cluster: in memory, and in SQLite before a request is answered."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.lab.kube.kinds import Json, Kind

Key = tuple[str, str, str]
"""Kind, namespace ("" for cluster-wide objects), name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write, as watches see it."""

    version: int
    type: str
    kind: str
    object: Json
    previous: Json | None


class Store:
    """Objects by kind, namespace and name, with one growing resourceVersion.

    Objects given out or taken in are never changed in place: a writer puts a new one. Every
    write is in the file before the call returns, so killing the process loses nothing that was
    answered. `lock` makes several calls one step; `changed` wakes whoever waits for a write.

    Args:
        path: the SQLite file; None keeps everything in memory.
        history: how many writes a late watch may still ask for.
    """

    def __init__(self, path: Path | None = None, history: int = 20_000) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._objects: dict[Key, Json] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False)
        # WAL with synchronous=OFF survives the death of the process, which is all a lab needs.
        self._database.execute("pragma journal_mode=wal")
        self._database.execute("pragma synchronous=off")
        self._database.execute(
            "create table if not exists objects"
            " (kind text, namespace text, name text, body text,"
            " primary key (kind, namespace, name))"
        )
        self._database.execute("create table if not exists version (number integer)")
        self._load()
        self._oldest = self.version

    def _load(self) -> None:
        for kind, namespace, name, body in self._database.execute("select * from objects"):
            self._objects[kind, namespace, name] = json.loads(body)
        row = self._database.execute("select max(number) from version").fetchone()
        self.version: int = row[0] or 1

    def close(self) -> None:
        with self.lock:
            self._database.close()

    def wake(self) -> None:
        """Wake everyone who waits, without a write."""
        with self.lock:
            self._changed.notify_all()

    @property
    def empty(self) -> bool:
        return not self._objects

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        with self.lock:
            return self._objects.get((kind.name, namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> Sequence[Json]:
        """Objects of a kind in order of namespace and name; "" means every namespace."""
        with self.lock:
            keys = sorted(
                key
                for key in self._objects
                if key[0] == kind.name and (not namespace or key[1] == namespace)
            )
            return [self._objects[key] for key in keys]

    def put(self, kind: Kind, item: Json) -> Json:
        """Store an object under the next resourceVersion and return what was stored."""
        with self.lock:
            metadata = item["metadata"]
            key = (kind.name, metadata.get("namespace", ""), metadata["name"])
            previous = self._objects.get(key)
            stored = {**item, "metadata": {**metadata, "resourceVersion": str(self.version + 1)}}
            self._record(key, stored)
            self._objects[key] = stored
            self._announce("MODIFIED" if previous else "ADDED", key, stored, previous)
            return stored

    def remove(self, kind: Kind, item: Json) -> Json:
        """Remove an object; returns its last form, with the resourceVersion of the removal."""
        with self.lock:
            metadata = item["metadata"]
            key = (kind.name, metadata.get("namespace", ""), metadata["name"])
            last = {**item, "metadata": {**metadata, "resourceVersion": str(self.version + 1)}}
            self._record(key, None)
            previous = self._objects.pop(key, None)
            self._announce("DELETED", key, last, previous)
            return last

    def clear(self) -> None:
        """Remove every object."""
        with self.lock:
            for (kind, _, _), item in list(self._objects.items()):
                self.remove(Kind(kind, kind), item)

    def _record(self, key: Key, item: Json | None) -> None:
        with self._database:
            if item is None:
                self._database.execute(
                    "delete from objects where kind=? and namespace=? and name=?", key
                )
            else:
                self._database.execute(
                    "insert or replace into objects values (?, ?, ?, ?)", (*key, json.dumps(item))
                )
            self._database.execute("delete from version")
            self._database.execute("insert into version values (?)", (self.version + 1,))

    def _announce(self, type_: str, key: Key, item: Json, previous: Json | None) -> None:
        self.version += 1
        if self._history.maxlen == len(self._history):
            self._oldest = self._history[0].version
        self._history.append(Change(self.version, type_, key[0], item, previous))
        self._changed.notify_all()

    def too_old(self, version: int) -> bool:
        """Whether writes after this resourceVersion are no longer known."""
        return version < self._oldest

    def changes(self, version: int) -> Sequence[Change]:
        """Writes after a resourceVersion, oldest first."""
        with self.lock:
            recent: list[Change] = []
            for change in reversed(self._history):
                if change.version <= version:
                    break
                recent.append(change)
            return recent[::-1]

    def wait(self, version: int, timeout: float | None) -> bool:
        """Wait until there is a write after `version`, a `wake`, or `timeout` seconds are over."""
        with self._changed:
            if self.version > version:
                return True
            return self._changed.wait(timeout)
