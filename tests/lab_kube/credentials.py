"""Kubeconfigs for the lab's cluster, with whatever credentials a test is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runner.lab.kube.cluster import LabCluster


def kubeconfig_with(lab: LabCluster, folder: Path, server: str = "", **user: Any) -> Path:
    """A kubeconfig with this user and the lab's own authority as a file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes((lab.folder / "ca.pem").read_bytes())
    cluster = {"server": server or lab.url, "certificate-authority": "ca.crt"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "current-context": "lab",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return path
