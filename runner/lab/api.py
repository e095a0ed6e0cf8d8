"""Starting and ending the lab's Kubernetes API, a process of its own beside the nodes."""

from __future__ import annotations

import base64
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from runner.errors import GpurunError
from runner.lab import processes
from runner.lab.commands import environment
from runner.lab.layout import Lab

PORT = 6443
PATIENCE = 60.0
"""Seconds the API may take to answer."""


def pids(lab: Lab) -> list[int]:
    """Processes of the lab's API."""
    return processes.find(lab.kube, f"{lab.cgroup}/kube", ())


def start(lab: Lab, subnet: str) -> None:
    """Start the API unless it answers already, and wait for it.

    Raises:
        GpurunError: when it ends or does not answer, with the end of its log.
    """
    if pids(lab) and is_ready(lab):
        return
    stop(lab)
    lab.kube.mkdir(parents=True, exist_ok=True)
    package_root = str(Path(__file__).parents[2])
    with log_file(lab).open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "runner.lab.kube", "--folder", str(lab.kube)),
                *("--nodes", str(lab.nodes_file), "--bind", f"{subnet}.1:{PORT}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**environment({processes.MARKER: str(lab.kube)}), "PYTHONPATH": package_root},
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + PATIENCE
    while not is_ready(lab):
        if process.poll() is not None or time.monotonic() > deadline:
            raise GpurunError(
                f"The lab's Kubernetes API did not come up: {last_line(log_file(lab))}",
                f"Its log: {log_file(lab)}",
            )
        time.sleep(0.05)


def log_file(lab: Lab) -> Path:
    return lab.folder / "kube.log"


def last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "its log is empty")


def stop(lab: Lab) -> None:
    """End the API's process; what it holds in its folder stays."""
    processes.end(lambda: pids(lab))


def is_ready(lab: Lab) -> bool:
    """Whether GET /readyz says yes, asked the way its kubeconfig tells."""
    try:
        server, context, token = connection(lab.kubeconfig)
        request = urllib.request.Request(f"{server}/readyz")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return False


def connection(kubeconfig: Path) -> tuple[str, ssl.SSLContext | None, str]:
    """Address, TLS settings and token of a kubeconfig with one cluster and one user."""
    import yaml

    content: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    cluster = content["clusters"][0]["cluster"]
    user = (content.get("users") or [{}])[0].get("user") or {}
    server = str(cluster["server"])
    if not server.startswith("https"):
        return server, None, str(user.get("token", ""))
    context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
    if data := cluster.get("certificate-authority-data"):
        context.load_verify_locations(cadata=base64.b64decode(data).decode())
    if certificate := user.get("client-certificate"):
        context.load_cert_chain(certificate, user.get("client-key"))
    return server, context, str(user.get("token", ""))
