"""Waits on the host: shown in a plan, done between changes and in verify."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from runner.engine.planning import HostPlan
from runner.engine.states import HostState
from runner.engine.waiting import wait_on_host
from runner.errors import GpurunError
from runner.hosts.script import Command
from runner.modules.base import HostWait
from runner.reports.data import host_plan
from tests.engine.local_host import LocalHost
from tests.engine.plays import OneHost, statuses

PLAY = """\
- hosts: all
  tasks:
    - name: begin
      copy: {{dest: {0}/begun, content: x}}
    - name: it is ready
      wait_for: {{path: {0}/{1}, sleep: 0.1, timeout: 0.1, msg: look at the log}}
    - name: after it
      copy: {{dest: {0}/after, content: x}}
"""


def test_a_wait_stands_between_two_changes(tmp_path: Path) -> None:
    host = OneHost(tmp_path, PLAY.format(tmp_path, "begun"))
    plan = host.plan()
    assert statuses(plan) == ["change", "ok", "change"]
    assert [str(wait) for step in plan.steps for wait in step.waits] == [
        f"waits until {tmp_path}/begun is there (at most 0.1 s)"
    ]
    assert host.apply(plan).status == "changed"
    assert [len(keys) for keys in host.local.changes] == [1, 1]
    assert (tmp_path / "after").exists()
    assert not host.again().pending


def test_a_wait_that_ends_without_success_is_a_failure(tmp_path: Path) -> None:
    host = OneHost(tmp_path, PLAY.format(tmp_path, "never"))
    result = host.apply()
    assert result.status == "failed"
    assert f"not so after 0.1 s: {tmp_path}/never is there" in result.reason
    assert "look at the log" in result.reason
    assert not (tmp_path / "after").exists()


def test_verify_waits_too(tmp_path: Path) -> None:
    text = (
        "- hosts: all\n"
        "  tasks:\n"
        f"    - copy: {{dest: {tmp_path}/begun, content: x}}\n"
        "  verify:\n"
        "    - pause: {seconds: 0.01}\n"
        f"    - wait_for: {{path: {tmp_path}/begun}}\n"
        f"    - stat: {{path: {tmp_path}/begun}}\n"
        "      register: seen\n"
        "    - assert: {that: seen.stat.size == 1}\n"
        "    - fail: {msg: it is empty}\n"
        "      when: seen.stat.size == 0\n"
    )
    host = OneHost(tmp_path, text)
    assert host.apply().status == "changed"


def test_stat_is_known_in_a_plan_until_the_play_changes_something(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    look = f"    - stat: {{path: {tmp_path}/there}}\n      register: seen\n"
    use = "    - debug: {msg: 'size {{ seen.stat.size }}'}\n"
    change = f"    - copy: {{dest: {tmp_path}/there, content: longer}}\n"
    host = OneHost(tmp_path, f"- hosts: all\n  tasks:\n{look}{use}{change}")
    plan = host.plan()
    assert statuses(plan) == ["ok", "ok", "change"]
    assert plan.steps[1].messages == ("size 1",)
    host = OneHost(tmp_path, f"- hosts: all\n  tasks:\n{change}{look}{use}")
    plan = host.plan()
    assert statuses(plan) == ["change", "deferred", "deferred"]
    assert all(step.looks for step in plan.steps[1:])
    assert host.apply(plan).status == "changed"


def look(shell: str) -> HostWait:
    return HostWait("the sun shines", look=Command("wait", shell), timeout=60)


def test_a_look_that_fails_is_not_taken_for_not_yet() -> None:
    with pytest.raises(GpurunError, match="cannot look whether the sun shines: no eyes"):
        wait_on_host(look("echo no eyes >&2; exit 2"), LocalHost(), threading.Event())


def test_a_stop_ends_a_wait_and_a_pause() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(GpurunError, match="stopped while it waits until the sun shines"):
        wait_on_host(look("exit 75"), LocalHost(), stop)
    with pytest.raises(GpurunError, match="stopped while it waits until it is noon"):
        wait_on_host(HostWait("it is noon", delay=3600), LocalHost(), stop)


def test_it_looks_until_it_is_so(tmp_path: Path) -> None:
    local = LocalHost()
    count = f"echo x >> {tmp_path}/n; [ $(wc -l < {tmp_path}/n) -ge 3 ] || exit 75"
    wait_on_host(look(count), local, threading.Event())
    assert len(local.looks) == 3


def test_a_plan_says_what_would_be_waited_for_where_something_changes(tmp_path: Path) -> None:
    host = OneHost(tmp_path, PLAY.format(tmp_path, "begun"))

    def messages() -> list[str]:
        shown: list[str] = host_plan(_state(host, host.again()))["messages"]
        return shown

    assert messages() == [f"it is ready: waits until {tmp_path}/begun is there (at most 0.1 s)"]
    host.apply()
    assert messages() == []


def _state(host: OneHost, plan: HostPlan) -> HostState:
    return HostState(host.subject.host, host.subject.play, host.subject, plan=plan)
