"""On a real node with systemd: sudo as it is, and a reboot that is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.errors import Origin
from runner.hosts.connection import BecomeError, Connection
from runner.hosts.script import Command
from runner.inventory.model import Host

if TYPE_CHECKING:
    from tests.conftest import LabUnderTest

pytestmark = pytest.mark.lab

WHO = Command("who", "id -un")


def node(lab: LabUnderTest, user: str = "ops") -> Host:
    """The T4 node, which no other test partitions."""
    return Host(
        name="gpu-t1",
        address=lab.nodes["gpu-t1"].address,
        origin=Origin("lab"),
        user=user,
        key_file=str(lab.lab.key),
        known_hosts=str(lab.lab.known_hosts),
    )


def test_a_reboot_is_another_boot(lab: LabUnderTest) -> None:
    boot = Command("boot", "cat /proc/sys/kernel/random/boot_id; ls /run/before-reboot")
    with Connection(node(lab)) as connection:
        connection.look([Command("mark", "touch /run/before-reboot")])
        before = connection.look([boot])["boot"]
        connection.reboot(120)
        after = connection.look([boot])["boot"]
    assert before.rc == 0
    assert after.rc != 0
    assert before.text.splitlines()[0] != after.text.splitlines()[0]


def test_a_user_without_rights_may_look_but_not_become(lab: LabUnderTest) -> None:
    with Connection(node(lab, "viewer")) as connection:
        plain = Command("me", "id -un", become=False)
        assert connection.look([plain])["me"].text == "viewer\n"
        with pytest.raises(BecomeError):
            connection.look([WHO])


def test_a_user_whose_sudo_wants_a_password(lab: LabUnderTest) -> None:
    with (
        pytest.raises(BecomeError, match="wants a password"),
        Connection(node(lab, "deploy")) as connection,
    ):
        connection.look([WHO])
