"""Which cluster, and as whom: the kubeconfig as lightkube reads it, with mistakes as sentences."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from runner.errors import ClusterError

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds token, authority and namespace of its service account."""


def load(kubeconfig: Path | None, context: str | None) -> SingleConfig:
    """The settings of one context, as kubectl would choose them.

    Args:
        kubeconfig: a file; None: `KUBECONFIG`, ~/.kube/config, or the pod's service account.
        context: None: the file's current context.

    Raises:
        ClusterError: the file is missing, broken, or lacks the context.
    """
    from lightkube.config.models import User
    from lightkube.core.exceptions import ConfigError

    path = choose(kubeconfig)
    name = str(path) if path else "service account"
    try:
        config = _read(path).get(context)
    except ConfigError as error:
        raise ClusterError(
            f"{name}: {printable(str(error))}", "kubectl config get-contexts lists the contexts"
        ) from error
    except Exception as error:  # YAML, missing keys, wrong types: lightkube lets them through
        raise ClusterError(
            f"{name}: not a usable kubeconfig: {_why(error)}",
            "compare it with: kubectl config view",
        ) from error
    if config is None:
        raise ClusterError(f"{name}: no context is chosen", "set current-context in it")
    user = config.user or User()
    if user.token_file:  # as kubectl, relative to the file that names it
        user.token_file = str(config.abs_file(user.token_file))
    return config._replace(user=user)


def proxy(config: SingleConfig) -> str | None:
    """The `proxy-url` of the context's cluster, which lightkube does not read; None: it has none.

    Raises:
        ClusterError: the file cannot be read again.
    """
    if config.fname is None:
        return None
    try:
        clusters = yaml.safe_load(Path(config.fname).read_text())["clusters"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ClusterError(f"{config.fname}: {printable(str(error))}") from error
    named = [entry["cluster"] for entry in clusters if entry["name"] == config.context.cluster]
    return str(named[0].get("proxy-url") or "") or None


def _why(error: Exception) -> str:
    """What is wrong with the file, in words rather than in Python's types."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    if isinstance(error, AttributeError | TypeError):
        return "it is empty, or a part of it is not a mapping"
    return printable(str(error))


def choose(kubeconfig: Path | None) -> Path | None:
    """The file to read; None: this runs in a pod and uses its service account."""
    listed = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if kubeconfig is None and len(listed) > 1:
        raise ClusterError(
            "KUBECONFIG names several files, and gpurun reads one",
            "merge them: kubectl config view --flatten > merged, then --kubeconfig merged",
        )
    home = Path("~/.kube/config")
    path = (kubeconfig or Path(listed[0] if listed else home)).expanduser()
    if path.is_file():
        return path
    if kubeconfig is None and not listed and in_cluster():
        return None
    raise ClusterError(
        f"{path}: no such kubeconfig",
        "name one with --kubeconfig, or in the environment variable KUBECONFIG",
    )


def in_cluster() -> bool:
    """Whether this runs in a pod that has a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").exists()


def _read(path: Path | None) -> KubeConfig:
    from lightkube.config.kubeconfig import KubeConfig

    if path:
        return KubeConfig.from_file(path)
    return KubeConfig.from_service_account(SERVICE_ACCOUNT)


def printable(text: str, most: int = 500) -> str:
    """Text of a server without control characters and not longer than a message should be."""
    clean = "".join(char if char.isprintable() else " " for char in text).strip()
    return clean if len(clean) <= most else clean[: most - 1] + "…"
