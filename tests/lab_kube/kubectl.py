"""The real kubectl, asked about the lab's cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Kubectl:
    """kubectl with one kubeconfig and a home of its own."""

    kubeconfig: Path
    home: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", *words],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "KUBECONFIG": str(self.kubeconfig),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def __call__(self, *words: str) -> str:
        """What it prints; it has to succeed."""
        done = self.run(*words)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *words: str) -> str:
        """What it says; it has to fail."""
        done = self.run(*words)
        assert done.returncode != 0, f"kubectl {' '.join(words)}: {done.stdout}"
        return done.stderr


def kubectl_for(kubeconfig: Path, home: Path) -> Kubectl:
    """kubectl for a cluster; the test is left out where there is none on the path."""
    if shutil.which("kubectl") is None:
        pytest.skip("allowed: there is no kubectl on the path")
    return Kubectl(kubeconfig, home)
