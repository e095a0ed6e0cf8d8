"""`block`, `rescue`, `always`: what may follow a failure is in the plan; what cannot be rescued
is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.engine.maintenance import Maintenance
from runner.errors import ClusterError, UnreachableError
from runner.kube.state import NodeState
from runner.modules.base import Disruption, Risk
from tests.engine.local_host import LocalHost
from tests.engine.plays import OneHost, statuses


def block(folder: Path, first: str, rescue: str = "", always: str = "", more: str = "") -> OneHost:
    """A play with a block of one task that writes what ran to `ran`, and `after` behind it."""
    text = f"""
- name: blocks
  hosts: all
  tasks:
    - name: whole
      block:
        - name: first
          {first}
        - name: second
          shell: echo second >> {folder}/ran
"""
    for kind, task in (("rescue", rescue), ("always", always)):
        if task:
            text += f"      {kind}:\n        - name: {kind}\n          {task}\n"
    text += f"    - name: after\n      shell: echo after >> {folder}/ran\n{more}"
    return OneHost(folder, text)


def ran(folder: Path) -> list[str]:
    path = folder / "ran"
    return path.read_text().split() if path.exists() else []


def test_a_plan_shows_the_rescue_as_what_may_follow(tmp_path: Path) -> None:
    one = block(
        tmp_path,
        f"shell: echo first >> {tmp_path}/ran",
        "reboot: {}",
        f"shell: echo always >> {tmp_path}/ran",
    )
    plan = one.plan()
    assert statuses(plan) == ["change", "change", "conditional", "change", "change"]
    rescue = plan.steps[2]
    assert rescue.reason == "only if 'whole' fails"
    assert (plan.disruption, plan.risk) == (Disruption.REBOOT, Risk.HIGH)
    result = one.apply(plan)
    assert result.status == "changed", result
    assert ran(tmp_path) == ["first", "second", "always", "after"]
    assert ["reboot"] not in one.local.changes


def test_a_block_with_nothing_to_do_needs_no_rescue(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    one = OneHost(
        tmp_path,
        f"""
- name: blocks
  hosts: all
  tasks:
    - block:
        - copy: {{content: x, dest: {tmp_path}/x}}
      rescue:
        - reboot: {{}}
      always:
        - debug: always
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["ok", "ok"]
    assert not plan.pending


def test_after_a_failure_the_rescue_follows_and_the_play_goes_on(tmp_path: Path) -> None:
    one = block(
        tmp_path,
        "shell: echo 'no {{ \"{{\" }} 6 * 7 }}' >&2; exit 3",
        "shell: echo {{ ansible_failed_task.name }}"
        f" {{{{ ansible_failed_result.rc }}}} >> {tmp_path}/ran",
        f"shell: echo always >> {tmp_path}/ran",
        f"""
    - name: text
      copy: {{content: "{{{{ ansible_failed_result.stderr }}}}", dest: {tmp_path}/said}}
""",
    )
    result = one.apply()
    assert result.status == "changed", result
    assert "rescued: first: failed with exit code 3" in result.reason
    assert ran(tmp_path) == ["first", "3", "always", "after"]
    assert (tmp_path / "said").read_text() == "no {{ 6 * 7 }}"


def test_without_a_rescue_always_follows_and_then_the_host_fails(tmp_path: Path) -> None:
    one = block(tmp_path, "shell: exit 3", always=f"shell: echo always >> {tmp_path}/ran")
    result = one.apply()
    assert result.status == "failed"
    assert "first: failed with exit code 3" in result.reason
    assert ran(tmp_path) == ["always"]


def test_a_failing_rescue_is_followed_by_always_and_the_failure(tmp_path: Path) -> None:
    one = block(tmp_path, "shell: exit 3", "shell: exit 4", f"shell: echo always >> {tmp_path}/ran")
    result = one.apply()
    assert result.status == "failed"
    assert "rescue: failed with exit code 4" in result.reason
    assert ran(tmp_path) == ["always"]


def test_blocks_in_blocks_hand_a_failure_outwards(tmp_path: Path) -> None:
    say = f"shell: echo %s >> {tmp_path}/ran"
    one = OneHost(
        tmp_path,
        f"""
- name: blocks
  hosts: all
  tasks:
    - name: outer
      block:
        - name: inner
          block:
            - shell: exit 3
            - {say % "never"}
          always:
            - {say % "inner-always"}
        - {say % "never"}
      rescue:
        - name: nested
          block:
            - {say % "rescue"}
            - shell: exit 4
          rescue:
            - {say % "rescue-of-rescue"}
      always:
        - {say % "outer-always"}
    - {say % "after"}
""",
    )
    plan = one.plan()
    assert "conditional" in statuses(plan)
    result = one.apply(plan)
    assert result.status == "changed", result
    assert ran(tmp_path) == ["inner-always", "rescue", "rescue-of-rescue", "outer-always", "after"]


def test_a_look_that_fails_in_a_plan_shows_what_its_rescue_does(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: blocks
  hosts: all
  tasks:
    - name: there
      block:
        - name: is it there
          shell: {{cmd: test -e {tmp_path}/made, read_only: true}}
          register: there
      rescue:
        - name: make it
          copy: {{content: "rc {{{{ there.rc }}}}", dest: {tmp_path}/made}}
""",
    )
    plan = one.plan()
    assert statuses(plan) == ["ok", "change"]
    assert "the block's rescue follows" in plan.steps[0].messages[0]
    assert one.apply(plan).status == "changed"
    assert (tmp_path / "made").read_text() == "rc 1"
    assert statuses(one.again()) == ["ok"]


def test_a_rescue_may_do_no_more_than_was_shown(tmp_path: Path) -> None:
    one = block(
        tmp_path,
        "shell: exit 3",
        "service: {name: \"{{ 'nothing' }}\", state: restarted}\n"
        "          disruption: none\n          because: it is a test",
    )
    plan = one.plan()
    (rescue,) = [step for step in plan.steps if step.status == "conditional"]
    assert rescue.disruption == Disruption.NONE


@pytest.mark.parametrize("how", ["unreachable", "drifted", "stopped"])
def test_what_is_no_failure_of_the_task_is_not_rescued(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = block(
        tmp_path,
        f"copy: {{content: x, dest: {tmp_path}/file}}",
        f"shell: echo rescue >> {tmp_path}/ran",
        f"shell: echo always >> {tmp_path}/ran",
    )
    plan = one.plan()
    if how == "unreachable":
        one.local.breaks_at_change = True
    elif how == "drifted":
        (tmp_path / "file").write_text("somebody was here")
    else:
        one.stop.set()
    status = {"stopped": "skipped"}.get(how, how)
    assert one.apply(plan).status == status
    assert ran(tmp_path) == []


def test_a_failed_wait_for_the_cluster_can_be_rescued(tmp_path: Path) -> None:
    one = block(
        tmp_path,
        'node_label: {labels: {example.com/x: "1"}}',
        f"shell: echo rescue >> {tmp_path}/ran",
    )
    one.node = NodeState("gpu-1")

    class Cluster(Maintenance):
        def perform(self, action: Any, since: Any) -> dict[str, Any]:
            raise ClusterError("the label was refused")

        def read_node(self) -> Any:
            return NodeState("gpu-1")

    result = one.apply(node=Cluster())
    assert result.status == "changed", result
    assert "the label was refused" in result.reason
    assert ran(tmp_path) == ["rescue", "after"]


def test_killed_in_a_rescue_the_next_apply_ends_as_wanted(tmp_path: Path) -> None:
    """As `resume` does it: a fresh look, a fresh plan."""
    one = block(
        tmp_path,
        f"shell: test -e {tmp_path}/allowed",
        f"copy: {{content: x, dest: {tmp_path}/allowed}}",
    )
    change = one.local.change

    def dies(blocks: Any) -> Any:
        if any("/2/" in wanted.key for wanted in blocks):
            raise UnreachableError("killed")
        return change(blocks)

    one.local.change = dies  # type: ignore[method-assign]

    class Node(Maintenance):
        def left(self) -> str:
            return "node gpu-1 stays cordoned"

    result = one.apply(node=Node())
    assert (result.status, result.left) == ("unreachable", "node gpu-1 stays cordoned")
    one.local.change = change  # type: ignore[method-assign]
    one.again()
    result = one.apply()
    assert result.status == "changed", result
    assert (tmp_path / "allowed").exists()
    assert ran(tmp_path) == ["after"]


def test_a_stop_in_a_rescue_leaves_the_node_as_it_is_and_says_so(tmp_path: Path) -> None:
    one = block(
        tmp_path,
        "shell: exit 3",
        f"shell: echo rescue >> {tmp_path}/ran",
        f"shell: echo always >> {tmp_path}/ran",
    )
    plan = one.plan()
    change = one.local.change

    def stopped(blocks: Any) -> Any:
        one.stop.set()
        return change(blocks)

    one.local.change = stopped  # type: ignore[method-assign]

    class Node(Maintenance):
        def left(self) -> str:
            return "node gpu-1 stays cordoned"

    result = one.apply(plan, Node())
    assert (result.status, result.left) == ("skipped", "node gpu-1 stays cordoned")
    assert ran(tmp_path) == []


def test_handlers_that_a_failed_block_notified_still_run(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- name: blocks {tmp_path}
  hosts: all
  tasks:
    - block:
        - copy: {{content: x, dest: {tmp_path}/file}}
          notify: restart
        - shell: exit 3
      rescue:
        - debug: rescued
  handlers:
    - name: restart
      shell: echo restart >> {tmp_path}/ran
""",
    )
    assert one.apply().status == "changed"
    assert ran(tmp_path) == ["restart"]


def test_what_a_rescue_registers_is_not_known_before(tmp_path: Path) -> None:
    one = block(
        tmp_path,
        "shell: exit 3",
        "shell: echo it\n          register: rescued",
        more="    - debug: {msg: yes}\n      when: rescued is defined\n",
    )
    plan = one.plan()
    assert statuses(plan)[-1] == "deferred"
    assert one.apply(plan).status == "changed"


def test_what_happens_is_told_as_it_happens(tmp_path: Path) -> None:
    one = block(
        tmp_path,
        "shell: echo no >&2; exit 3",
        'debug: "it was {{ ansible_failed_task.name }}"',
    )
    one.apply()
    assert [event.text for event in one.happened if event.kind == "progress"] == [
        "first: failed with exit code 3: no; the rest of its block is left out",
        "rescue: it was first",
    ]
    assert [event.text for event in one.happened if event.kind == "step-failed"] == ["first"]


class Rebooting(LocalHost):
    """A host on which a boot makes a file."""

    def __init__(self, made: Path) -> None:
        super().__init__()
        self.made = made

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        super().reboot(timeout, ask)
        self.made.write_text("old\n")


def test_what_only_a_reboot_makes_possible_is_planned_after_it(tmp_path: Path) -> None:
    """A first step breaks what a later one needs; the boot of the rescue brings it back."""
    needed = tmp_path / "needed"
    needed.write_text("old\n")
    one = OneHost(
        tmp_path,
        f"""
- name: blocks
  hosts: all
  tasks:
    - block:
        - shell: rm {tmp_path}/need*; exit 1
      rescue:
        - reboot: {{}}
    - name: late
      lineinfile: {{path: {needed}, line: new}}
""",
    )
    one.local = Rebooting(needed)
    plan = one.plan()
    assert statuses(plan) == ["change", "conditional", "change"]
    result = one.apply(plan)
    assert result.status == "changed", result
    assert ["reboot"] in one.local.changes
    assert needed.read_text() == "old\nnew\n"


def test_a_rescue_is_done_before_the_fail_at_its_end(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        f"""
- hosts: all
  tasks:
    - name: whole
      block:
        - {{name: first, shell: "false"}}
      rescue:
        - {{name: note, copy: {{dest: {tmp_path}/note, content: noted}}}}
        - {{name: end, fail: {{msg: "it is over: {{{{ ansible_failed_task.name }}}}"}}}}
      always:
        - {{name: always, shell: "echo always >> {tmp_path}/ran"}}
    - {{name: after, shell: "echo after >> {tmp_path}/ran"}}
""",
    )
    result = one.apply()
    assert (result.status, result.reason) == ("failed", "end: it is over: first")
    assert (tmp_path / "note").read_text() == "noted"
    assert ran(tmp_path) == ["always"]
