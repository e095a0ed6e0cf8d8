"""Credentials that a program of the user prints: kubeconfig's `exec`, as client-go runs it.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
What it prints stays in memory; a key that Python's TLS has to read from a file is in one of mode
0600 for that moment.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import ClusterError

if TYPE_CHECKING:
    from lightkube.config.models import User, UserExec

_GROUP = "client.authentication.k8s.io/"
VERSIONS = (f"{_GROUP}v1", f"{_GROUP}v1beta1")
PATIENCE = 60.0
"""Seconds a plugin has; it cannot ask anybody, as it gets no terminal."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a plugin gave: a token, a certificate with its key (PEM), or both."""

    token: str | None = None
    certificate: str | None = None
    key: str | None = None
    expires: datetime | None = None

    def __repr__(self) -> str:
        return f"Credential(expires={self.expires})"

    def given_to(self, user: User) -> None:
        """Make these the credentials of a kubeconfig's user, in the place of its plugin."""
        user.exec = None
        user.token = self.token
        if self.certificate and self.key:
            user.client_cert_data = base64.b64encode(self.certificate.encode()).decode()
            user.client_key_data = base64.b64encode(self.key.encode()).decode()


def ask(plugin: UserExec, folder: Path) -> Credential:
    """Run a credential plugin.

    Args:
        folder: where the kubeconfig lies; a path to a plugin is relative to it.

    Raises:
        ClusterError: it is not there, fails, hangs, or prints no credential.
    """
    if plugin.apiVersion not in VERSIONS:
        raise _useless(plugin, f"its API version {plugin.apiVersion} is not supported")
    info = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential"}
    environment = {**os.environ, **{entry.name: entry.value for entry in plugin.env or ()}}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps({**info, "spec": {"interactive": False}})
    command = plugin.command
    if os.sep in command:
        command = str((folder / command).absolute())
    try:
        done = subprocess.run(
            [command, *(plugin.args or ())],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _useless(plugin, f"nothing after {PATIENCE:g} s") from error
    except OSError as error:
        raise _useless(plugin, error.strerror or str(error)) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")[-400:].strip()
        raise _useless(plugin, f"exit status {done.returncode}: {said}")
    return _read(plugin, done.stdout)


def _read(plugin: UserExec, output: bytes) -> Credential:
    try:
        answer = json.loads(output)
        status: Mapping[str, Any] = answer["status"]
        wrong = answer.get("apiVersion", plugin.apiVersion) != plugin.apiVersion
        texts = [status.get(field) for field in ("token", *_PAIR, "expirationTimestamp")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _useless(plugin, "what it prints is no ExecCredential with a status") from error
    if wrong or not all(text is None or isinstance(text, str) for text in texts):
        raise _useless(plugin, f"what it prints is no ExecCredential of {plugin.apiVersion}")
    token, certificate, key, expires = texts
    if bool(certificate) != bool(key):
        raise _useless(plugin, f"{_PAIR[0]} and {_PAIR[1]} belong together, and one is missing")
    if not token and not certificate:
        raise _useless(plugin, "it gave neither a token nor a certificate")
    return Credential(token or None, certificate, key, _moment(plugin, expires))


_PAIR = ("clientCertificateData", "clientKeyData")


def _moment(plugin: UserExec, text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _useless(plugin, f"its expirationTimestamp {text!r} is no time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _useless(plugin: UserExec, why: str) -> ClusterError:
    from runner.kube.kubeconfig import printable

    hint = printable(plugin.installHint or "") or "run it by hand, as kubectl would"
    return ClusterError(
        f"no credentials: plugin {printable(plugin.command)}: {printable(why)}", hint
    )
