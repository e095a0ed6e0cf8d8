"""One run per node, and one that takes nodes out of service per cluster: Leases that are held
meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from runner.errors import ClusterError
from runner.kube.api import Json, RefusalError
from runner.kube.cluster import Cluster
from runner.kube.parse import understood
from runner.kube.waiting import Progress, StoppedError

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
ROLLOUT = "gpurun.rollout"
"""No node has a lease of this name: theirs begin with "gpurun-"."""
ROLLOUT_OF = "the rollout on this cluster"
RUN = "gpurun.dev/run"
DURATION = 60.0
"""Seconds a lease is valid without being renewed."""
RENEW = 15.0
"""Seconds between renewals: three may fail before the lease runs out."""
WRITE_TIMEOUT = 10.0
"""Seconds a renewal may take, so that a silent server is noticed before the lease runs out."""
LOOK = 2.0
"""Seconds between two looks at a lease that somebody else holds."""
SKEW = timedelta(seconds=10)
"""How far clocks of two holders may differ before a lease seems to have run out too early."""


class LockedError(ClusterError):
    """Another run works there. `holder`, `run` and `since` say which."""

    def __init__(self, what: str, holder: str, run: str, since: str) -> None:
        super().__init__(
            f"{what} is locked by {holder} (run {run or 'unknown'}) since {since}",
            "wait for that run, or end it with: gpurun resume " + (run or "RUN"),
        )
        self.holder = holder
        self.run = run
        self.since = since


class LeaseLock:
    """Holds a Lease in kube-system for as long as the `with` block runs.

    A lease is taken over when it was released, when it has run out, or when it belongs to the same
    run (which was killed and is being resumed) or to the one whose nodes this run takes over.

    Args:
        name: of the lease.
        what: it is the lock of, for messages.
        run: id of the run.
        holder: for people: "user@host pid run".
        wait: seconds to wait for another holder; 0: none.
        stop: ends the waiting.
        heir_of: the run whose nodes this one takes over; "": none.
        progress: told once for whom it waits.

    Raises (on entering):
        LockedError: another run holds it.
        ClusterError: refused or unreachable.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        what: str,
        run: str,
        holder: str,
        wait: float = 0.0,
        stop: threading.Event | None = None,
        heir_of: str = "",
        progress: Progress = lambda text: None,
    ) -> None:
        self.lost = threading.Event()
        """Set when the lock can no longer be relied on: stop working there."""
        self._api = cluster.api
        self._name = name
        self._what = what
        self._progress = progress
        self._run = run
        self._ours = {run, heir_of or run}
        self._holder = holder
        self._wait = wait
        self._stop = stop or threading.Event()
        self._released = threading.Event()
        self._thread: threading.Thread | None = None
        self._lease: Json = {}

    def __enter__(self) -> Self:
        self._acquire()
        self._thread = threading.Thread(target=self._keep, name=f"lease {self._name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        if self._thread is not None:
            self._thread.join()
        if not self.lost.is_set():
            # Not released, it runs out by itself; that must not hide what happened inside.
            with contextlib.suppress(ClusterError):
                self._write({"holderIdentity": None}, "release")

    def _acquire(self) -> None:
        end = time.monotonic() + self._wait
        seen: tuple[str, float] = ("", 0.0)
        told = False
        while True:
            lease = self._read()
            if lease is None:
                if self._create():
                    return
                continue
            version = lease["metadata"]["resourceVersion"]
            if version != seen[0]:
                seen = (version, time.monotonic())
            if self._free(lease, time.monotonic() - seen[1]):
                self._lease = lease
                if self._try_take():
                    return
                continue
            left = end - time.monotonic()
            if left <= 0:
                raise self._locked(lease)
            if not told:
                told = True
                self._progress(f"{self._locked(lease).message}; waiting {self._wait:.0f} s for it")
            if self._stop.wait(min(LOOK, left)):
                raise StoppedError(f"{self._what}: stopped while waiting for its lock")

    def _free(self, lease: Json, unchanged: float) -> bool:
        """Released, ours, or run out: by the clock, or because nobody renewed it before our eyes.

        Args:
            unchanged: seconds for which we have seen it unchanged.
        """
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity") or self._run_of(lease) in self._ours:
            return True
        duration = float(spec.get("leaseDurationSeconds") or DURATION)
        renewed = parse_time(spec.get("renewTime") or spec.get("acquireTime"))
        if unchanged > duration:
            return True
        if renewed is None:  # cannot be read: only watching it can tell
            return False
        return datetime.now(UTC) > renewed + timedelta(seconds=duration) + SKEW

    def _locked(self, lease: Json) -> LockedError:
        spec = lease.get("spec") or {}
        holder, since = spec.get("holderIdentity", ""), spec.get("acquireTime") or "unknown"
        return LockedError(self._what, str(holder), self._run_of(lease), str(since))

    @staticmethod
    def _run_of(lease: Json) -> str:
        return str((lease["metadata"].get("annotations") or {}).get(RUN, ""))

    def _read(self) -> Json | None:
        try:
            lease = self._api.get(f"{LEASES}/{self._name}", f"read the lock of {self._what}")
        except RefusalError as error:
            if error.code == 404:
                return None
            raise
        understood(lambda item: item["metadata"]["resourceVersion"], lease, "Lease")
        return lease

    def _create(self) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "annotations": {RUN: self._run}},
            "spec": self._spec(acquired=True),
        }
        try:
            # A creation that is repeated meets its own lease, which the run id tells.
            self._lease = self._api.request(
                "POST", LEASES, f"lock {self._what}", body=body, repeatable=True
            )
        except RefusalError as error:
            if error.code == 409:
                return False
            raise
        return True

    def _try_take(self) -> bool:
        try:
            self._write(self._spec(acquired=True), "lock")
        except RefusalError as error:
            if error.code in (404, 409):
                return False
            raise
        return True

    def _write(self, spec: Mapping[str, Any], verb: str) -> None:
        """Replace the lease we know; refused (409) when it is no longer as we know it."""
        meta = dict(self._lease["metadata"])
        meta["annotations"] = {**(meta.get("annotations") or {}), RUN: self._run}
        # A key without a value is left out: the API refuses an empty holder.
        merged = {**(self._lease.get("spec") or {}), **spec}
        kept = {key: value for key, value in merged.items() if value is not None}
        body = {**self._lease, "metadata": meta, "spec": kept}
        self._lease = self._api.request(
            "PUT",
            f"{LEASES}/{self._name}",
            f"{verb} {self._what}",
            body=body,
            timeout=WRITE_TIMEOUT,
        )

    def _spec(self, acquired: bool = False) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: dict[str, Any] = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": now,
        }
        return spec | ({"acquireTime": now} if acquired else {})

    def _keep(self) -> None:
        """Renew until released; set `lost` when that has failed for as long as the lease lasts."""
        renewed = time.monotonic()
        while not self._released.wait(RENEW):
            try:
                if not self._renew():
                    self.lost.set()
                    return
                renewed = time.monotonic()
            except ClusterError:
                pass
            if time.monotonic() - renewed > DURATION - RENEW:
                self.lost.set()
                return

    def _renew(self) -> bool:
        """One renewal; False when the lease is somebody else's now."""
        try:
            self._write(self._spec(), "renew the lock of")
        except RefusalError:
            # Changed by others (409), deleted (400, 404 or 409: servers differ), or not allowed.
            lease = self._read()
            if lease is None or (lease.get("spec") or {}).get("holderIdentity") != self._holder:
                return False
            self._lease = lease
            self._write(self._spec(), "renew the lock of")
        return True


class NodeLock(LeaseLock):
    """The lock of one node, `gpurun-<node>`."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        run: str,
        holder: str,
        wait: float = 0.0,
        stop: threading.Event | None = None,
        heir_of: str = "",
        progress: Progress = lambda text: None,
    ) -> None:
        name, what = lease_name(node), f"node {node}"
        super().__init__(cluster, name, what, run, holder, wait, stop, heir_of, progress)


class RolloutLock(LeaseLock):
    """The lock of all runs that take nodes of a cluster out of service: budgets of how many may be
    out at once say nothing where two runs count for themselves."""

    def __init__(
        self,
        cluster: Cluster,
        run: str,
        holder: str,
        wait: float = 0.0,
        stop: threading.Event | None = None,
        heir_of: str = "",
        progress: Progress = lambda text: None,
    ) -> None:
        super().__init__(cluster, ROLLOUT, ROLLOUT_OF, run, holder, wait, stop, heir_of, progress)


def lease_name(node: str) -> str:
    """gpurun-<node>; shortened with a digest where that is longer than the API allows (253)."""
    name = f"gpurun-{node}"
    if len(name) <= 253:
        return name
    return f"{name[:236]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def parse_time(text: object) -> datetime | None:
    """A time of the API; None where there is none or it cannot be read."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
