"""driver-upgrade with packages cut as NVIDIA's CUDA repository cuts them, on real apt."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program
from tests.lab.test_driver import NEW, OLD, ONE, ROLLBACK, UPGRADE, installed, loaded, status

pytestmark = pytest.mark.lab

NEXT = "580.65.06"


def host_with_both(lab: LabUnderTest) -> Any:
    """gpu-a2, whose apt knows Ubuntu's packages and NVIDIA's."""
    host = lab.host("gpu-a2")
    line = "deb [trusted=yes] file:/srv/cuda-repo ./"
    host.check_output(f"echo '{line}' >/etc/apt/sources.list.d/cuda.list && apt-get -qq update")
    return host


def module(host: Any) -> str:
    return str(host.file("/proc/driver/nvidia/version").content_string)


def test_from_ubuntus_packages_to_nvidias_on_and_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = host_with_both(fresh)
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get -qq install nvidia-fabricmanager-550")
    code, up = program.json("apply", UPGRADE, *ONE, "-e", "source=cuda", "-e", "flavour=open")
    assert code == 0, status(up)
    assert loaded(host) == NEW and "Open Kernel Module" in module(host)
    names = installed(host)
    assert {"nvidia-open-570", "nvidia-dkms-570-open", "nvidia-fabricmanager-570"} <= names
    assert not [name for name in names if "-server" in name or "550" in name], names
    versions = host.check_output("dpkg-query -W -f='${Version}\\n' '*nvidia*-570*'").split()
    assert set(versions) == {f"{NEW}-1ubuntu1"}, "all of them are NVIDIA's"

    code, again = program.json("apply", UPGRADE, *ONE)
    assert (code, again["changes"]) == (0, []), "its source and its flavour stay"

    code, on = program.json("apply", UPGRADE, *ONE, "-e", f"driver_version={NEXT}")
    assert code == 0, status(on)
    assert loaded(host) == NEXT and "Open Kernel Module" in module(host)
    assert {"nvidia-open-580", "nvidia-fabricmanager"} <= installed(host)

    code, back = program.json("apply", ROLLBACK, *ONE)
    assert code == 0, status(back)
    assert (loaded(host), installed(host)) == (NEW, names)
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_sources_that_would_be_mixed_and_pins_to_another_branch_are_refused(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = host_with_both(fresh)
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qq install"
    host.check_output(f"{install} nvidia-fabricmanager-550")
    code, denied = program.json("apply", UPGRADE, *ONE)
    assert (code, status(denied)[0]) == (4, "denied"), denied
    assert "come from several sources" in status(denied)[1], "two have a fabric manager of 570"

    host.check_output(f"{install} nvidia-driver-pinning-580")
    code, denied = program.json("apply", UPGRADE, *ONE, "-e", "source=cuda")
    assert (code, status(denied)[0]) == (4, "denied"), denied
    assert "nvidia-driver-pinning-580 is installed" in status(denied)[1]
    assert loaded(host) == OLD and not cluster.cordoned("gpu-a2")
