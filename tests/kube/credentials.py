"""Accounts of the cluster, and kubeconfigs for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from runner.kube.api import Api
from tests.kube.names import NS, PREFIX


@contextmanager
def account(
    direct: Api, target: Path, folder: Path, name: str, rules: Sequence[Mapping[str, Any]]
) -> Iterator[Path]:
    """A kubeconfig of a new service account that may do what the rules say, in all namespaces."""
    role = f"{PREFIX}-{name}"
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    accounts = f"/api/v1/namespaces/{NS}/serviceaccounts"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": NS}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    made: dict[str, dict[str, Any]] = {
        accounts: {"metadata": {"name": name}},
        f"{rbac}/clusterroles": {"metadata": {"name": role}, "rules": list(rules)},
        f"{rbac}/clusterrolebindings": {
            "metadata": {"name": role},
            "roleRef": reference,
            "subjects": [subject],
        },
    }
    for path, item in made.items():
        direct.request("POST", path, "create", body=item)
    ask = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    ask["spec"] = {"expirationSeconds": 3600}
    answer = direct.request("POST", f"{accounts}/{name}/token", "ask for a token", body=ask)
    yield with_user(target, folder / "kubeconfig", token=answer["status"]["token"])
    for path, item in reversed(made.items()):
        direct.request("DELETE", f"{path}/{item['metadata']['name']}", "delete")


def with_user(target: Path, path: Path, **user: Any) -> Path:
    """A kubeconfig for the same cluster, with another user."""
    content = yaml.safe_load(target.read_text())
    for entry in content["clusters"]:
        file = entry["cluster"].get("certificate-authority")
        if file:
            entry["cluster"]["certificate-authority"] = str(target.parent / file)
    content["users"] = [{"name": entry["name"], "user": user} for entry in content["users"]]
    path.write_text(yaml.safe_dump(content))
    return path
