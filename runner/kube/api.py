"""One connection to a cluster's API server: requests in, plain JSON out, failures as sentences.

lightkube supplies what is hard and not ours: kubeconfig, TLS, client certificates, tokens, exec
plugins. Objects stay JSON: fields this program does not know survive a round trip, deletions can
carry preconditions and `Retry-After` is seen, none of which lightkube's typed calls offer; and
msgspec's first decoding of a type, which is not thread-safe, never happens beside another thread.

Permissions used by this package (least RBAC): nodes get/list/patch, pods list/delete, pods/eviction
create, daemonsets.apps get/list, poddisruptionbudgets.policy list,
resourceclaims.resource.k8s.io list (else every claim counts as one of a GPU), and in kube-system
leases.coordination.k8s.io get/list/create/update;
`kubernetes_object` needs get, create, patch and delete of what it is to manage.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import ClusterError
from runner.kube.connection import Connection, Source, connect
from runner.kube.kubeconfig import load, printable

if TYPE_CHECKING:
    import httpx2

Json = Mapping[str, Any]

PAGE = 500
"""Objects per list request."""
RETRY_DELAYS = (0.2, 0.6, 1.2)
"""Seconds before a read is asked again when nothing, or "busy", was answered."""
TIMEOUT = 30.0
"""Seconds without a byte of an answer."""
BUSY = frozenset({429, 502, 503, 504})
"""Answers of a server, or of what stands before it, that pass."""
UNSERVED = "404 page not found"
FIELD_MANAGER = "gpurun"

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


class SilenceError(ClusterError):
    """No usable answer: down, timed out, broken off, or not what an API server says."""

    hung = False
    """The connection stood, or was tried for, until the time was over."""


class UnservedError(SilenceError):
    """Nothing is served at this path: the API server lacks the group, or this is none.

    The Kubernetes API server answers so, without a Status, where it knows the group of a path not
    at all (net/http.NotFound, which others answer too): that says nothing about an object.
    """


class RefusalError(ClusterError):
    """The API server answered with an error.

    Args:
        code: HTTP status.
        reason: machine-readable reason of the Status object ("Conflict").
        causes: (reason, message) of each detail.
        said: the server's own message.
        retry_after: seconds the server asks to wait, if it does.
    """

    def __init__(
        self,
        message: str,
        hint: str,
        code: int,
        reason: str = "",
        causes: Sequence[tuple[str, str]] = (),
        said: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.reason = reason
        self.causes = tuple(causes)
        self.said = said
        self.retry_after = retry_after


class Api:
    """Requests to one API server. Safe to share between threads; connects when first used.

    Args:
        kubeconfig: a file; None: `KUBECONFIG`, ~/.kube/config, or the pod's service account.
        context: a context of that file; None: its current one.
    """

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._source = Source()
        self.requests = 0
        """Requests sent so far."""
        self.clock_offset = timedelta(0)
        """The server's clock minus ours, as its last answer told; whole seconds are its grain."""

    def now(self) -> datetime:
        """The time by the server's clock."""
        return datetime.now(UTC) + self.clock_offset

    @property
    def server(self) -> str:
        """URL of the API server; empty before the first request."""
        return self._source.server

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.client.close()

    def get(self, path: str, asked: str) -> Json:
        """Read one object. `asked` says in words what is wanted ("read node gpu-1")."""
        return self.request("GET", path, asked)

    def collection(
        self, path: str, asked: str, *, labels: str = "", fields: str = ""
    ) -> tuple[Json, ...]:
        """All objects of a collection that match the selectors, page by page."""
        for _ in range(3):
            try:
                return tuple(self._pages(path, asked, labels, fields))
            except RefusalError as error:
                if error.code != 410:  # the list expired between two pages: start again
                    raise
        raise SilenceError(
            f"{self.server}: {asked}: the list expired three times while it was being read",
            "the API server is overloaded or its history very short; try again later",
        )

    def _pages(self, path: str, asked: str, labels: str, fields: str) -> list[Json]:
        query = {"limit": str(PAGE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        found: list[Json] = []
        while True:
            answer = self.request("GET", path, asked, query=query)
            items = answer.get("items")
            # The real server answers null for an empty list of some kinds.
            if "items" not in answer or not isinstance(items, list | None):
                raise self._garbage(asked, "an answer that is not a list")
            found += items or []
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return found
            query["continue"] = token

    def request(
        self,
        method: str,
        path: str,
        asked: str,
        *,
        body: object = None,
        content_type: str = JSON,
        query: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        timeout: float | None = None,
    ) -> Json:
        """One request and its JSON answer.

        Args:
            repeatable: may be sent again when no answer came. Reads are; a write is only when it
                carries a resourceVersion or UID, or sets the same values however often it is sent.
            timeout: seconds without a byte of an answer; None: `TIMEOUT`.

        Raises:
            SilenceError: nothing usable was answered.
            RefusalError: the server said no.
        """
        again = method == "GET" if repeatable is None else repeatable
        for delay in (*RETRY_DELAYS, None) if again else (None,):
            try:
                return self._once(method, path, asked, body, content_type, query, timeout)
            except RefusalError as error:
                if error.code not in passing(method):
                    raise
                if delay is None:
                    raise self._still_busy(error, method) from error
                time.sleep(min(error.retry_after or delay, 5.0))
            except SilenceError as error:
                final = error.hung or isinstance(error, UnservedError)
                if delay is None or final:  # waited long enough, or answered for good
                    raise
                time.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _renewed(self, used: Connection) -> bool:
        """Whether there is another connection to try: a plugin is asked again, or somebody has
        logged in anew. (The client itself reads token files again.)"""
        user = load(self._kubeconfig, self._context).user
        token = (user and user.token) or ""
        with self._lock:
            if self._connection is used:
                if not used.plugin and token == used.token:
                    return False
                self._connection = None  # not closed: others may wait for its answers
        return True

    @staticmethod
    def _still_busy(error: RefusalError, method: str) -> ClusterError:
        """A read that stays unanswered is silence, which whoever waits bears for a while."""
        return SilenceError(error.message, error.hint) if method == "GET" else error

    def _once(
        self,
        method: str,
        path: str,
        asked: str,
        body: object,
        content_type: str,
        query: Mapping[str, str] | None,
        timeout: float | None,
    ) -> Json:
        params = dict(query or {})
        if method in ("POST", "PUT", "PATCH"):
            params.setdefault("fieldManager", FIELD_MANAGER)
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": JSON} | ({"Content-Type": content_type} if body is not None else {})
        return self._answer(
            self._sent(method, path, asked, params, content, headers, timeout), asked
        )

    def text(self, path: str, asked: str, query: Mapping[str, str]) -> str:
        """What a path answers that is no JSON, as a pod's log. Not asked twice."""
        headers = {"Accept": "text/plain, */*"}
        response = self._sent("GET", path, asked, query, None, headers, None)
        if response.is_success:
            return response.text
        self._answer(response, asked)
        raise AssertionError("what is no success raises")

    def _sent(
        self,
        method: str,
        path: str,
        asked: str,
        params: Mapping[str, str],
        content: bytes | None,
        headers: Mapping[str, str],
        timeout: float | None,
    ) -> httpx2.Response:
        """One request and what came back, whatever it says; sent once more where the credentials
        are refused and there are new ones."""
        import httpx2

        def send(connection: Connection) -> httpx2.Response:
            with self._lock:
                self.requests += 1
            limits = httpx2.Timeout(timeout or TIMEOUT, connect=10.0)
            return connection.client.request(
                method, path, params=params, content=content, headers=headers, timeout=limits
            )

        used = self._connected()
        try:
            response = send(used)
            if response.status_code == 401 and self._renewed(used):
                response = send(self._connected())
        except httpx2.TimeoutException as error:
            silence = self._silence(asked, f"no answer in time ({type(error).__name__})")
            silence.hung = True
            raise silence from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._silence(asked, printable(str(error)) or type(error).__name__) from error
        except ClusterError:
            raise
        except Exception as error:  # token files fail inside the request
            raise ClusterError(
                f"{self.server}: {asked}: no credentials: {printable(str(error))}",
                f"check the user of context {self._source.context!r} in {self._source.file}",
            ) from error
        self._note_clock(response.headers.get("date"))
        return response

    def _answer(self, response: httpx2.Response, asked: str) -> Json:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.is_success:
            if not isinstance(answer, dict):
                raise self._garbage(asked, printable(response.text[:80]) or "an empty answer")
            return answer
        if response.status_code == 404 and response.text.strip() == UNSERVED:
            raise self._garbage(asked, f"HTTP 404, {UNSERVED}", UnservedError)
        raise self._refusal(
            asked, response.status_code, answer, response.headers.get("retry-after")
        )

    def _refusal(
        self, asked: str, code: int, answer: object, retry_after: str | None
    ) -> ClusterError:
        if not isinstance(answer, dict) or answer.get("kind") != "Status":
            if code in BUSY:
                return RefusalError(
                    f"{self.server}: {asked}: HTTP {code}", "the API server is busy", code
                )
            return self._garbage(asked, f"HTTP {code} that is no Kubernetes answer")
        said = printable(str(answer.get("message") or answer.get("reason") or f"HTTP {code}"))
        details = answer.get("details") or {}
        causes = [
            (str(cause.get("reason", "")), printable(str(cause.get("message", ""))))
            for cause in details.get("causes") or []
        ]
        return RefusalError(
            f"{self.server}: {asked}: {said}",
            self._hint(code),
            code,
            str(answer.get("reason") or ""),
            causes,
            said,
            seconds(retry_after) or seconds(details.get("retryAfterSeconds")),
        )

    def _hint(self, code: int) -> str:
        flags = f"--kubeconfig {self._source.file} --context {self._source.context}"
        if code == 401:
            return f"the credentials are not accepted; look with: kubectl {flags} auth whoami"
        if code == 403:
            return f"the user lacks this permission; look with: kubectl {flags} auth can-i --list"
        return ""

    def _silence(self, asked: str, why: str) -> SilenceError:
        return SilenceError(
            f"{self.server}: {asked}: {why}",
            f"is the API server up and is this its address? (context {self._source.context!r}"
            f" in {self._source.file})",
        )

    def _garbage(
        self, asked: str, what: str, kind: type[SilenceError] = SilenceError
    ) -> SilenceError:
        return kind(
            f"{self.server}: {asked}: answered {what}",
            f"is this a Kubernetes API server? (context {self._source.context!r}"
            f" in {self._source.file})",
        )

    def _note_clock(self, date: str | None) -> None:
        if not date:
            return
        with contextlib.suppress(ValueError, TypeError):
            offset = parsedate_to_datetime(date) - datetime.now(UTC)
            # The header has whole seconds; below two seconds nothing can be said.
            self.clock_offset = offset if abs(offset) > timedelta(seconds=2) else timedelta(0)

    def _connected(self) -> Connection:
        with self._lock:
            if self._connection is None or self._connection.expired:
                self._connection = connect(self._kubeconfig, self._context)
                self._source = self._connection.source
            return self._connection


def passing(method: str) -> frozenset[int]:
    """Refusals worth asking again. An eviction's 429 and 500 speak of disruption budgets."""
    return BUSY - {429} if method == "POST" else BUSY | {500}


def seconds(value: object) -> float | None:
    """A Retry-After in seconds; None where there is none or it is a date."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 <= number < 3600 else None
