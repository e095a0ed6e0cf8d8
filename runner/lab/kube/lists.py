"""Lists and watches: selection, paging, and events since a resourceVersion."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runner.lab.kube import tables
from runner.lab.kube.failures import ApiFailure, bad_request, expired
from runner.lab.kube.kinds import Json, Kind
from runner.lab.kube.selectors import Matches, matcher
from runner.lab.kube.store import Change, Store

Query = dict[str, str]


def list_objects(store: Store, kind: Kind, namespace: str, query: Query, table: bool) -> Json:
    """Answer a list request with a List, or with the Table that kubectl prints."""
    with store.lock:
        version = store.version
        _check_exact(store, query)
        matches = matcher(kind, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        items = [item for item in store.list(kind, namespace) if matches(item)]
    limit = int(query.get("limit") or 0)
    if token := query.get("continue"):
        version, start = _read_token(token)
        if store.too_old(version):
            raise expired("The provided continue parameter is too old to display a consistent list")
        items = [item for item in items if _position(item, namespace) >= start]
    metadata: Json = {"resourceVersion": str(version)}
    if limit and len(items) > limit:
        last = _position(items[limit - 1], namespace)
        metadata["continue"] = _token(version, f"{last}\0")
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(items) - limit
        items = items[:limit]
    if table:
        return tables.table(kind, items, metadata)
    return {
        "kind": f"{kind.name}List",
        "apiVersion": kind.api_version,
        "metadata": metadata,
        "items": [
            {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
            for item in items
        ],
    }


def _check_exact(store: Store, query: Query) -> None:
    exact = query.get("resourceVersionMatch") == "Exact"
    if exact and store.too_old(int(query.get("resourceVersion") or 0)):
        raise expired("The resourceVersion for the provided list is too old.")


def _position(item: Json, namespace: str) -> str:
    metadata = item["metadata"]
    inside = namespace or "namespace" not in metadata
    return str(metadata["name"] if inside else f"{metadata['namespace']}/{metadata['name']}")


def _token(version: int, start: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    text = ""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("latin-1")
        content = json.loads(text)
        return int(content["rv"]), str(content["start"])
    except (ValueError, KeyError, TypeError):
        first = ascii(text[:1])
        why = f": invalid character {first} looking for beginning of value" if text else ""
        message = f"invalid continue token: continue key is not valid{why}"
        raise bad_request(message) from None


@dataclass(frozen=True, slots=True)
class Watch:
    """A watch request: what to follow, from where, for how many seconds."""

    kind: Kind
    namespace: str
    matches: Matches
    since: int | None
    timeout: float
    bookmarks: bool
    initial_end: bool
    table: bool

    @classmethod
    def of(cls, kind: Kind, namespace: str, query: Query, table: bool) -> Watch:
        since = query.get("resourceVersion", "")
        if since and not since.isdigit():
            raise bad_request(f'Invalid value: "{since}": strconv.ParseUint: invalid syntax')
        initial = query.get("sendInitialEvents") == "true"
        return cls(
            kind,
            namespace,
            matcher(kind, query.get("labelSelector", ""), query.get("fieldSelector", "")),
            None if since in ("", "0") or initial else int(since),
            float(query.get("timeoutSeconds") or 1800),
            query.get("allowWatchBookmarks") == "true",
            initial,
            table,
        )

    def events(self, store: Store, stopped: Callable[[], bool]) -> Iterator[Json]:
        """Events until the timeout or until `stopped`; ends with a bookmark when asked for one."""
        deadline = time.monotonic() + self.timeout
        with store.lock:
            version = store.version if self.since is None else self.since
            start = [] if self.since is not None else store.list(self.kind, self.namespace)
        yield from (self._event("ADDED", item) for item in start if self.matches(item))
        if self.initial_end:
            yield self._bookmark(version, {"k8s.io/initial-events-end": "true"})
        while not stopped() and (left := deadline - time.monotonic()) > 0:
            store.wait(version, left)
            if store.too_old(version):
                yield _too_old(version, store.version)
                return
            for change in store.changes(version):
                version = change.version
                if event := self._seen(change):
                    yield event
        if self.bookmarks:
            yield self._bookmark(version)

    def _seen(self, change: Change) -> Json | None:
        """The change as this watch sees it: an object may come into or leave its selection."""
        item = change.object
        namespace = item["metadata"].get("namespace", "")
        if change.kind != self.kind.name or (self.namespace and namespace != self.namespace):
            return None
        before = change.previous is not None and self.matches(change.previous)
        after = change.type != "DELETED" and self.matches(item)
        if not before and not after:
            return None
        type_ = ("MODIFIED" if before else "ADDED") if after else "DELETED"
        return self._event(type_, item)

    def _event(self, type_: str, item: Json) -> Json:
        shown = tables.table(self.kind, [item], {}) if self.table else item
        return {"type": type_, "object": shown}

    def _bookmark(self, version: int, annotations: Json | None = None) -> Json:
        metadata: Json = {"resourceVersion": str(version)}
        if annotations:
            metadata["annotations"] = annotations
        item = {
            "kind": self.kind.name,
            "apiVersion": self.kind.api_version,
            "metadata": metadata,
        }
        return {"type": "BOOKMARK", "object": item}


def _too_old(version: int, current: int) -> Json:
    failure: ApiFailure = expired(f"too old resource version: {version} ({current})")
    return {"type": "ERROR", "object": failure.body()}
