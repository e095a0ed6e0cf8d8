"""Tasks plan against what earlier tasks of the same play will have made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from runner.facts.apt import PLANNED
from runner.facts.paths import exists_key
from runner.hosts.script import Command, Result
from runner.modules.base import Change, Context, Outcome, Refused
from runner.modules.registry import load_module
from tests.modules.cases import node

CONTEXT = Context("gpu1", notified=True)

EMPTY = """\
== arch amd64
== policy
tool:
  Installed: (none)
  Candidate: 2.0
  Version table:
     2.0 500
        500 http://apt.example/debian Packages
     1.0 500
        500 http://apt.example/debian Packages
== unfinished
== simulation
Inst library (2.0 Debian [amd64])
Inst tool (2.0 Debian [amd64])
== ended 0
"""


def plan(module: str, arguments: dict[str, Any], observed: Mapping[str, Any]) -> Outcome:
    loaded = load_module(module)
    return loaded.plan(loaded.arguments.model_validate(arguments), observed, CONTEXT)


def look(module: str, arguments: dict[str, Any], *outputs: str) -> dict[str, Any]:
    loaded = load_module(module)
    probes = loaded.probes(loaded.arguments.model_validate(arguments), CONTEXT)
    padded = [*outputs, *[""] * (len(probes) - len(outputs))]
    return {
        probe.key: probe.parse(Result(0, output.encode()))
        for probe, output in zip(probes, padded, strict=True)
    }


def only(outcome: Outcome) -> Change:
    (change,) = outcome.changes
    return change


def test_package_planned_by_an_earlier_task_needs_nothing_more() -> None:
    first, second = {"name": "tool"}, {"name": ["tool=2.0"]}
    view = look("apt", first, EMPTY) | look("apt", second, EMPTY)
    view.update(only(plan("apt", first, view)).overlay)
    assert plan("apt", second, view).changes == ()


def test_dependency_planned_by_an_earlier_task_is_not_planned_twice() -> None:
    first, second = {"name": "tool"}, {"name": "library"}
    other = EMPTY.replace("Inst tool (2.0 Debian [amd64])\n", "")
    view = look("apt", first, EMPTY) | look("apt", second, other)
    view.update(only(plan("apt", first, view)).overlay)
    assert plan("apt", second, view).changes == ()


def test_another_version_than_an_earlier_task_plans_is_refused() -> None:
    first, second = {"name": "tool=2.0"}, {"name": "tool=1.0"}
    have = "== arch amd64\ntool:amd64 1.0 install installed\n"
    up = EMPTY.replace("Inst tool (", "Inst tool [1.0] (").replace("arch amd64\n", have[3:])
    view = look("apt", first, up) | look("apt", second, have)
    view.update(only(plan("apt", first, view)).overlay)
    with pytest.raises(Refused, match="an earlier task of this play plans another version"):
        plan("apt", second, view)


def test_unit_of_a_package_that_is_only_planned_is_unpredictable_not_refused() -> None:
    arguments = {"name": "tool", "state": "started", "enabled": True}
    view = look("service", arguments, "LoadState=not-found\nActiveState=inactive\n")
    view[exists_key("/etc/systemd/system/tool.service")] = False
    with pytest.raises(Refused):
        plan("service", arguments, view)
    view.update(only(plan("apt", {"name": "tool"}, look("apt", {"name": "tool"}, EMPTY))).overlay)
    assert set(view[PLANNED]) == {"tool", "library"}
    change = only(plan("service", arguments, view))
    assert change.summary == (
        "tool.service: daemon-reload, enable, start (once this play has brought the unit)"
    )
    assert not change.predictable
    assert [a.key for a in change.do if isinstance(a, Command)] == [
        "daemon-reload",
        "enable",
        "start",
    ]
    view.update(change.overlay)
    assert plan("service", arguments, view).changes == ()


def test_label_set_by_an_earlier_task_is_seen() -> None:
    view: dict[str, Any] = {"kubernetes:node": node({"labels": {"a": "1"}})}
    view.update(only(plan("node_label", {"labels": {"a": "2"}}, view)).overlay)
    change = only(plan("node_label", {"labels": {"a": None}}, view))
    assert change.before == {"a": "2"}


def test_parameter_of_a_module_that_is_only_planned_is_unpredictable_not_refused() -> None:
    load, arguments = {"name": "br_netfilter"}, {"name": "net.bridge.x", "value": "1"}
    view = look("modprobe", load, "available\n")
    view |= {k: v for k, v in look_at_sysctl(arguments).items() if k not in view}
    with pytest.raises(Refused, match="this kernel has no parameter"):
        plan("sysctl", arguments, view)
    view.update(only(plan("modprobe", load, view)).overlay)
    _, change = plan("sysctl", arguments, view).changes
    assert change.summary == "net.bridge.x: none -> 1 (once this play has loaded its module)"
    assert not change.predictable
    view.update(change.overlay)
    assert len(plan("sysctl", arguments, view).changes) == 1


def look_at_sysctl(arguments: dict[str, Any]) -> dict[str, Any]:
    gone = "none No such file or directory\nme uid=0(root) gid=0(root) groups=0(root)\nlooked\n"
    folder = "stat 41ed:0:0:0:root:root\nparent\nlooked\n"
    return look("sysctl", arguments, gone, folder, "none\n")


def test_module_of_a_package_that_is_only_planned_is_unpredictable_not_refused() -> None:
    view = look("modprobe", {"name": "nvidia"}, "missing\n")
    view.update(only(plan("apt", {"name": "tool"}, look("apt", {"name": "tool"}, EMPTY))).overlay)
    change = only(plan("modprobe", {"name": "nvidia"}, view))
    assert change.summary == "load kernel module nvidia (once this play has brought it)"
    assert not change.predictable
