"""Operating system, kernel, boot and packages from what hosts print."""

from __future__ import annotations

import pytest

from runner.facts.base import load_fact
from runner.hosts.script import Result
from runner.modules.base import Unknown

UBUNTU = """\
PRETTY_NAME="Ubuntu 24.04.1 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04.1 LTS (Noble Numbat)"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=noble
"""

DPKG = """\
bash 5.2.15-2+b8 install installed
containerd 1.6.20~ds1-1+deb12u1 hold installed
cuda-drivers 570.86.15-1 install half-configured
libnvidia-container1 1.18.0-1 hold installed
nvidia-driver-550 550.90.07-1 deinstall config-files
nvidia-settings  unknown not-installed
"""


def read(name: str, stdout: str = "", rc: int = 0, stderr: str = "") -> object:
    fact = load_fact(name)
    assert fact.probe
    return fact.export(fact.probe.parse(Result(rc, stdout.encode(), stderr.encode())))


def test_operating_system() -> None:
    assert read("os", UBUNTU) == {
        "id": "ubuntu",
        "version_id": "24.04",
        "codename": "noble",
        "pretty": "Ubuntu 24.04.1 LTS",
    }


def test_rolling_release_has_no_version() -> None:
    assert read("os", "ID=arch\nPRETTY_NAME='Arch Linux'\nODD='\n") == {
        "id": "arch",
        "version_id": "",
        "codename": "",
        "pretty": "Arch Linux",
    }


def test_kernel() -> None:
    assert read("kernel", "6.8.0-45-generic\nx86_64\n") == {
        "release": "6.8.0-45-generic",
        "machine": "x86_64",
    }


def test_boot_id() -> None:
    boot_id = "5ab2f1a0-3c9e-4a57-9c53-0f3f0d7a9b11"
    assert read("boot_id", boot_id + "\n") == boot_id


def test_packages_of_a_gpu_node() -> None:
    assert read("packages", DPKG) == {
        "installed": {"containerd": "1.6.20~ds1-1+deb12u1", "libnvidia-container1": "1.18.0-1"},
        "held": ["containerd", "libnvidia-container1"],
        "unfinished": ["cuda-drivers"],
        "dpkg_broken": True,
    }


def test_interrupted_dpkg_is_broken() -> None:
    packages = read("packages", "bash 5.2 install installed\ninterrupted\n")
    assert isinstance(packages, dict)
    assert packages["unfinished"] == ["dpkg"]


@pytest.mark.parametrize(
    ("fact", "stdout", "rc"),
    [
        ("os", "", 1),
        ("os", "NAME=nothing\n", 0),
        ("kernel", "", 0),
        ("boot_id", "", 1),
        ("boot_id", "not a uuid\n", 0),
        ("packages", "", 127),
        ("packages", "dpkg-query: error\n", 2),
        ("packages", "odd line\n", 0),
    ],
)
def test_what_cannot_be_understood_is_unknown(fact: str, stdout: str, rc: int) -> None:
    with pytest.raises(Unknown):
        read(fact, stdout, rc)
