"""`gpurun rollback` on nodes with real systemd, containerd and a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, read_until
from tests.lab.test_runtime import PATCH, install

pytestmark = pytest.mark.lab

CONFIG = "/etc/containerd/config.toml"
NODE = "gpu-a2"


def configuration(host: Any) -> str:
    """Bytes, mode and owner."""
    return str(host.check_output(f"sha256sum {CONFIG}; stat -c '%a %U:%G' {CONFIG}"))


def invocation(host: Any) -> str:
    return str(host.check_output("systemctl show containerd -p InvocationID --value"))


def test_containerd_is_as_before_and_a_second_rollback_does_nothing(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host(NODE)
    install(host)
    host.check_output(f"chmod 0640 {CONFIG}")
    before = configuration(host)
    code, applied = program.json("apply", PATCH, "--yes", "--limit", NODE)
    assert code == 0, applied
    assert "nvidia-container-runtime" in host.check_output("containerd config dump")
    assert configuration(host) != before
    run, changed = str(applied["run"]), invocation(host)

    dry = program.run("rollback", run, "--dry-run")
    assert dry.returncode == 2, dry.stdout + dry.stderr
    assert f"~ restore {CONFIG}" in dry.stdout
    assert "not undone: gpu-a2: The RuntimeClass by which pods choose it" in dry.stdout
    assert configuration(host) != before and not cluster.cordoned(NODE)

    refused = program.run("rollback", run)
    assert refused.returncode == 4, "a restart of containerd asks, as it did the first time"
    back = program.run("rollback", run, "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert "gpu-a2: changed (uncordoned)" in back.stdout, "drained, as the restart asks for"
    assert configuration(host) == before
    assert "nvidia" not in host.check_output("containerd config dump")
    assert host.service("containerd").is_running and invocation(host) != changed
    assert not cluster.cordoned(NODE) and not cluster.marks(NODE)

    restarted = invocation(host)
    again = program.run("rollback", run, "--yes")
    assert again.returncode == 0 and "no change" in again.stdout, again.stdout
    assert invocation(host) == restarted and not cluster.cordoned(NODE)


def test_a_node_that_a_killed_run_holds_is_brought_back_and_given_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host(NODE)
    install(host)
    before = configuration(host)
    process = program.start("apply", PATCH, "--yes", "--limit", NODE)
    read_until(process, "The RuntimeClass by which pods choose it: done")
    process.kill()
    process.wait()
    assert cluster.cordoned(NODE) and configuration(host) != before
    run = cluster.marks(NODE)["gpurun.dev/run"]

    back = program.run("rollback", run, "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert configuration(host) == before
    assert "nvidia" not in host.check_output("containerd config dump")
    assert host.service("containerd").is_running
    assert not cluster.cordoned(NODE) and not cluster.marks(NODE)
    assert program.run("resume", run).returncode == 1, "it would do again what was undone"
