"""Who asks: bearer tokens, client certificates, and the tokens issued to service accounts."""

from __future__ import annotations

import datetime
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.lab.kube import clock, credentials
from runner.lab.kube.authorization import ACCOUNT
from runner.lab.kube.bodies import read_as
from runner.lab.kube.failures import may_not_impersonate, not_found, unauthorized
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.requests import Request, User
from runner.lab.kube.schema import Struct
from runner.lab.kube.store import Store

TOKEN_REQUEST = re.compile(r"/api/v1/namespaces/([^/]+)/serviceaccounts/([^/]+)/token")
_TOKEN_REQUEST = Struct("authentication_v1", "TokenRequest")
_AUDIENCE = "https://kubernetes.default.svc"
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class _Issued:
    user: User
    expires: datetime.datetime


class Accounts:
    """The lab's own users, and service accounts. Safe to share between threads.

    Issued tokens are forgotten when the server ends.
    """

    def __init__(self, folder: Path) -> None:
        self._fixed = credentials.tokens(folder)
        self._issued: dict[str, _Issued] = {}
        self._lock = threading.Lock()

    def user(self, authorization: str, certificate: Mapping[str, Any] | None) -> User:
        """Whose token the header carries, or whom the client's certificate names.

        Raises:
            ApiFailure: 401 for none, an unknown or an expired one.
        """
        scheme, _, token = authorization.partition(" ")
        if not authorization and certificate:
            return _certified(certificate)
        if scheme.lower() != "bearer":
            raise unauthorized()
        if token in self._fixed:
            return self._fixed[token]
        with self._lock:
            issued = self._issued.get(token)
        if issued is None or issued.expires < _now():
            raise unauthorized()
        return issued.user

    def impersonated(self, user: User, name: str) -> User:
        """The user that a request of `user` is to be made as (`kubectl --as`).

        Raises:
            ApiFailure: 403 unless `user` is an administrator.
        """
        if user.bound or not user.writes:
            raise may_not_impersonate(user.name, name)
        return _named(name)

    def issue(self, store: Store, request: Request) -> Json:
        """Answer a TokenRequest for a service account.

        Raises:
            ApiFailure: 404 where there is no such account.
        """
        found = TOKEN_REQUEST.fullmatch(request.path)
        namespace, name = found.groups() if found else ("", "")
        account = store.get(KIND["ServiceAccount"], namespace, name)
        if account is None:
            raise not_found(KIND["ServiceAccount"], name)
        body = read_as(request, _TOKEN_REQUEST)
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or _HOUR
        token, expires = self.token(namespace, name, seconds)
        meta = {"name": name, "namespace": namespace, "uid": account["metadata"]["uid"]}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {**meta, "creationTimestamp": clock.now()},
            "spec": {
                "audiences": spec.get("audiences") or [_AUDIENCE],
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": f"{expires:%Y-%m-%dT%H:%M:%SZ}"},
        }

    def token(self, namespace: str, name: str, seconds: float) -> tuple[str, datetime.datetime]:
        """A token of a service account and when it expires."""
        user = User(f"{ACCOUNT}{namespace}:{name}", bound=True)
        token, expires = secrets.token_urlsafe(32), _now() + datetime.timedelta(seconds=seconds)
        with self._lock:
            self._issued[token] = _Issued(user, expires)
        return token, expires

    def revoke(self) -> None:
        """Let every issued token be expired."""
        with self._lock:
            self._issued.clear()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _certified(certificate: Mapping[str, Any]) -> User:
    """The user a certificate of our own authority names: its common name."""
    subject: Sequence[Any] = certificate.get("subject", ())
    names = {key: value for part in subject for key, value in part}
    return _named(str(names.get("commonName", "")))


def _named(name: str) -> User:
    known = {user.name: user for user in (credentials.ADMIN, credentials.READER)}
    return known.get(name) or User(name, bound=True)
