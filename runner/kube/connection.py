"""The connection to an API server as a kubeconfig describes it: address, TLS, credentials."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import ClusterError
from runner.kube.kubeconfig import load, printable, proxy

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True, slots=True)
class Source:
    """Where the connection's settings came from, for messages."""

    server: str = ""
    file: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """An HTTP client that knows address, authority and credentials.

    Args:
        token: the kubeconfig's own token, "" where there is none.
        plugin: whether its credentials are those of a plugin.
        expires: when they end, where the plugin has said so.
    """

    client: httpx2.Client
    source: Source
    token: str
    plugin: bool
    expires: datetime | None

    @property
    def expired(self) -> bool:
        return self.expires is not None and datetime.now(UTC) >= self.expires


def connect(kubeconfig: Path | None, context: str | None) -> Connection:
    """Read the kubeconfig and ask its credential plugin, if it has one; sends nothing yet.

    Raises:
        ClusterError: the file, the context or what they name cannot be used.
    """
    import httpx2
    from lightkube.config.client_adapter import Client, ConnectionParams
    from lightkube.config.models import User

    config = load(kubeconfig, context)
    user = config.user or User()
    source = Source(
        config.cluster.server, str(config.fname or "service account"), config.context_name
    )
    token, plugin, expires = user.token or "", user.exec, None
    if plugin and not user.token and not user.token_file:
        from runner.kube.credential_plugins import ask

        credential = ask(plugin, Path(config.fname or "").parent)
        credential.given_to(user)
        expires = credential.expires
    host = httpx2.URL(config.cluster.server).host
    # As in Go's client, a proxy of the environment is never asked for this machine itself.
    local = host in ("localhost", "::1") or host.startswith("127.")
    try:
        client = Client(config, ConnectionParams(trust_env=not local, proxy=proxy(config)))
    except Exception as error:  # ssl, base64 and file errors of whatever the file names
        raise ClusterError(
            f"{source.file}: context {config.context_name!r} cannot be used:"
            f" {printable(str(error))}",
            "check the certificates, keys and user of that context",
        ) from error
    return Connection(client, source, token, plugin is not None, expires)
