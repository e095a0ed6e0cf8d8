"""Whoever holds the GPUs is seen in the look that is made anyway, and told where it matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.engine.gates import gate
from runner.engine.gpu_users import users_probe
from runner.engine.planning import HostPlan
from runner.facts.gpu_users import KEY, GpuUser, GpuUsers
from runner.kube.state import DrainOptions
from runner.modules.base import Disruption, Risk, Unknown
from tests.engine.plays import OneHost, subject
from tests.engine.test_gates import NODE, PLAY, plan

DISTURBS = """
- hosts: all
  tasks:
    - command: {{cmd: touch {file}, creates: {file}}}
      disruption: {disruption}
"""


class TestLooks:
    def test_the_look_costs_no_exec_of_its_own(self, tmp_path: Path) -> None:
        host = OneHost(tmp_path, DISTURBS.format(file=tmp_path / "new", disruption="gpu"))
        planned = host.plan()
        assert len(host.local.looks) == 1 and KEY in host.local.looks[0]
        assert isinstance(planned.gpu_users, GpuUsers)

    def test_a_play_that_disturbs_no_gpu_does_not_look(self, tmp_path: Path) -> None:
        host = OneHost(tmp_path, DISTURBS.format(file=tmp_path / "new", disruption="service"))
        assert host.plan().gpu_users is None
        assert not any(KEY in look for look in host.local.looks)

    def test_where_nothing_is_to_be_done_nothing_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "new").touch()
        host = OneHost(tmp_path, DISTURBS.format(file=tmp_path / "new", disruption="gpu"))
        planned = host.plan()
        assert planned.pending == () and planned.gpu_users is None

    @pytest.mark.parametrize(
        ("text", "become", "user"),
        [
            ("- hosts: all\n  become: true\n  tasks: [reboot: {}]", True, "root"),
            ("- hosts: all\n  tasks: [{reboot: {}, become: true}]", True, "root"),
            ("- hosts: all\n  tasks: [reboot: {}]", False, "root"),
            (
                "- hosts: all\n  become: true\n  become_user: ada\n  tasks: [reboot: {}]",
                True,
                "ada",
            ),
            (
                "- hosts: all\n  tasks: [{reboot: {}, become: true, become_user: ada}]",
                False,
                "root",
            ),
        ],
    )
    def test_it_is_made_as_root_where_the_playbook_becomes_root(
        self, tmp_path: Path, text: str, become: bool, user: str
    ) -> None:
        probe = users_probe(subject(tmp_path, text).play)
        assert (probe.become, probe.user) == (become, user)


def disturbing(
    users: GpuUsers | Unknown | None, disruption: Disruption = Disruption.GPU
) -> HostPlan:
    return replace(plan(Risk.HIGH, disruption), gpu_users=users)


class TestGate:
    def test_known_users_are_no_reason_to_deny(self) -> None:
        users = GpuUsers((GpuUser(7, "python", 0, ("/dev/nvidia0",)),))
        assert gate(disturbing(users), NODE, None, "run").verdict == "ask"

    def test_users_that_are_not_known_deny(self) -> None:
        (reason,) = gate(disturbing(Unknown("no /proc")), NODE, None, "run").reasons
        assert reason == "no /proc (or 'drain: {mode: full}' drains all pods)"

    def test_who_is_not_root_does_not_know_them(self) -> None:
        (reason,) = gate(disturbing(GpuUsers(complete=False)), NODE, None, "run").reasons
        assert "only root sees those of others (set 'become: true'" in reason

    @pytest.mark.parametrize("users", [Unknown("no /proc"), GpuUsers(complete=False)])
    def test_where_all_pods_go_or_none_it_does_not_matter(self, users: GpuUsers | Unknown) -> None:
        assert gate(disturbing(users, Disruption.REBOOT), NODE, None, "run").verdict == "ask"
        unmoved = replace(disturbing(users), play=replace(PLAY, drain=DrainOptions(mode="none")))
        assert gate(unmoved, NODE, None, "run").verdict == "ask"
