"""What all tests share: the lab of real nodes, and CI's rule about skipped tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from runner.engine import host_lock
from runner.lab import lifecycle
from runner.lab.layout import Lab, Node, NodeSpec, find_lab
from runner.modules.files import copies
from runner.secrets import passwords
from runner.secrets.redact import KNOWN
from runner.secrets.sources import sops_file
from tests.engine import local_host

# How long an example takes says something of the machine, nothing of the program.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ALLOWED = "allowed:"
"""How the reason of a skip must start for CI to accept it."""


@pytest.fixture(scope="session", autouse=True)
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs on fake hosts keep copies and locks: nothing is left on this machine."""
    folder = tmp_path_factory.mktemp("kept")
    copies.FOLDER = str(folder)
    host_lock.FOLDER = str(folder / "run")
    local_host.UNCHANGING.update(str(above) for above in folder.parents)
    return folder


@dataclass(frozen=True, slots=True)
class LabUnderTest:
    """The lab all lab tests share. A test leaves it as it found it, or calls `reset`.

    Args:
        nodes: by name: gpu-a1, gpu-a2, gpu-h1, gpu-t1.
        inventory: the inventory file, for `-i`.
        kubeconfig: of its Kubernetes API.
    """

    lab: Lab
    nodes: dict[str, Node]
    inventory: Path
    kubeconfig: Path

    @property
    def name(self) -> str:
        return self.lab.name

    def host(self, node: str, sudo: bool = True) -> Any:
        """A testinfra host for a node; commands run as root unless `sudo` is False."""
        import testinfra

        return testinfra.get_host(
            f"ssh://ops@{self.nodes[node].address}",
            ssh_identity_file=str(self.lab.key),
            ssh_extra_args=f"-F none -o UserKnownHostsFile={self.lab.known_hosts}",
            sudo=sudo,
        )

    def reset(self, *nodes: str) -> None:
        """Nodes (none named: all, and the API) back to the state right after `up`."""
        lifecycle.reset(self.lab, nodes, print)


@pytest.fixture(autouse=True)
def _no_secret_is_known() -> Iterator[None]:
    """Each test begins as a new process does."""
    yield
    KNOWN.forget()
    passwords.use(None)
    sops_file.cache_clear()


@contextmanager
def lab_of_its_own(
    folder: Path, specs: tuple[NodeSpec, ...] = (), suffix: str = ""
) -> Iterator[LabUnderTest]:
    """A fresh lab, taken down at the end.

    GPURUN_TEST_LAB names it, so that test runs side by side do not share one; two of the same name
    wait for each other.

    Args:
        specs: its nodes; none: the default four.
        suffix: of its name, where one test run has several.
    """
    name = os.environ.get("GPURUN_TEST_LAB", "test") + suffix
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        name = f"{name}-{worker}"
    found = find_lab(name)
    inventory = folder / f"{name}.yaml"
    found.folder.parent.mkdir(parents=True, exist_ok=True)
    with found.folder.with_name(f".{name}.session").open("w") as session:
        fcntl.flock(session, fcntl.LOCK_EX)
        lifecycle.down(found, print)
        nodes = lifecycle.up(found, specs, "full", inventory, print)
        yield LabUnderTest(found, {node.name: node for node in nodes}, inventory, found.kubeconfig)
        lifecycle.down(found, print)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """The lab of the four default nodes."""
    with lab_of_its_own(tmp_path_factory.mktemp("inventory")) as found:
        yield found


class SkipRule:
    """In CI a skipped test fails the run, unless its reason starts with `allowed:`."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.look(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.look(report.nodeid, report.longrepr)

    def look(self, nodeid: str, longrepr: object) -> None:
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED):
            self.refused.append(f"{nodeid}: {reason}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus in (0, pytest.ExitCode.OK):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for refused in self.refused:
            terminalreporter.write_line(f"skipped without being allowed to in CI: {refused}")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI", "").lower() in ("true", "1"):
        config.pluginmanager.register(SkipRule(), "skip-rule")
