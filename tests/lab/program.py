"""The program on the lab, as a user calls it, and the cluster as kubectl would show it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runner.kube.api import MERGE_PATCH, Api
from tests.conftest import LabUnderTest

PROJECT = Path(__file__).parents[2]
PATIENCE = 180.0
"""Seconds; a loaded machine takes its time."""


class Program:
    """gpurun on one lab, with a journal of its own."""

    def __init__(self, lab: LabUnderTest, folder: Path) -> None:
        self.lab = lab
        self.environment = {
            **os.environ,
            "GPURUN_JOURNAL": str(folder / "journal.sqlite"),
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
        }
        self.environment.pop("KUBECONFIG", None)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "runner.cli.main", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, without a terminal."""
        return subprocess.run(
            self.command(*arguments),
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def on_lab(self, verb: str, playbook: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run(verb, playbook, "-i", str(self.lab.inventory), *more)

    def json(self, verb: str, playbook: str, *more: str) -> tuple[int, dict[str, Any]]:
        """Exit code and the object that `--output json` prints."""
        done = self.on_lab(verb, playbook, "--output", "json", *more)
        assert done.stdout, done.stderr
        made: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, made

    def start(self, verb: str, playbook: str, *more: str) -> subprocess.Popen[str]:
        """Start it; its output is read with `read_until`."""
        return subprocess.Popen(
            self.command(verb, playbook, "-i", str(self.lab.inventory), *more),
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Everything printed up to the first line with `text`."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"'{text}' was never printed:\n{seen}")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"this never became true: {what}"
        time.sleep(0.2)


class Cluster:
    """The lab's cluster, read and written plainly."""

    def __init__(self, lab: LabUnderTest) -> None:
        self._api = Api(lab.kubeconfig)

    def node(self, name: str) -> dict[str, Any]:
        return dict(self._api.get(f"/api/v1/nodes/{name}", "read a node"))

    def cordoned(self, name: str) -> bool:
        return bool(self.node(name)["spec"].get("unschedulable", False))

    def marks(self, name: str) -> dict[str, str]:
        """Our annotations on a node."""
        annotations = self.node(name)["metadata"].get("annotations") or {}
        return {key: value for key, value in annotations.items() if key.startswith("gpurun.dev/")}

    def allocatable(self, name: str) -> int:
        return int(self.node(name)["status"]["allocatable"].get("nvidia.com/gpu", "0"))

    def read(self, path: str) -> dict[str, Any]:
        """Any object, by its path."""
        return dict(self._api.get(path, "read an object"))

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Merge into any object."""
        self._write("PATCH", path, body)

    def patch_node(self, name: str, body: Mapping[str, Any]) -> None:
        self._write("PATCH", f"/api/v1/nodes/{name}", body)

    def patch_pod(self, full_name: str, body: Mapping[str, Any]) -> None:
        namespace, name = full_name.split("/")
        self._write("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}", body)

    def create(self, path: str, body: Mapping[str, Any]) -> None:
        self._write("POST", path, body, "application/json")

    def delete(self, path: str) -> None:
        self._api.request("DELETE", path, "delete an object")

    def pods(self, node: str) -> dict[str, str]:
        """Pods of a node: namespace/name -> UID."""
        found = self._api.collection("/api/v1/pods", "list pods", fields=f"spec.nodeName={node}")
        return {_full_name(pod): pod["metadata"]["uid"] for pod in found}

    def gpu_pods(self, node: str) -> list[str]:
        """Pods of Deployments that use a GPU there."""
        names = self.pods(node)
        return [name for name in names if name.startswith(("default/trainer", "default/inference"))]

    def _write(
        self, method: str, path: str, body: Mapping[str, Any], kind: str = MERGE_PATCH
    ) -> None:
        self._api.request(method, path, "change an object", body=dict(body), content_type=kind)


def _full_name(pod: Mapping[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
