"""The options of a drain: a play's `drain`, and the inventory's variable `drain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from typing import Any, get_args

from runner.errors import Origin, Problem
from runner.kube.state import DrainMode, DrainOptions, JobWait
from runner.kube.taints import EFFECTS, RESERVED, parse_taint
from runner.playbook.document import Map, Seq
from runner.playbook.fields import Fields, kind_of
from runner.playbook.keywords import similar

FLAGS = ("ignore_daemonsets", "delete_emptydir_data", "force", "disable_eviction")


def read_drain(fields: Fields) -> DrainOptions:
    """`drain` of a play; every mistake is noted."""
    return DrainOptions(**_chosen(Fields(fields.mapping("drain"), "drain", fields.problems)))


def host_drain(value: object, origin: Origin | None) -> tuple[dict[str, Any], list[Problem]]:
    """The options that an inventory sets for a host, by name, and every mistake in them.

    Args:
        value: of the variable `drain`; those of a program or a cluster know no places.
        origin: where it was set.
    """
    problems: list[Problem] = []
    placed = _placed(value, origin)
    if not isinstance(placed, Map):
        message = f"drain: expected a mapping (option: value), found {kind_of(value)}"
        return {}, [Problem(message, origin, "Its options are those of a play's drain.")]
    return _chosen(Fields(placed, "drain", problems)), problems


def _placed(value: object, origin: Origin | None) -> object:
    """Plain mappings and lists as those of a file that stand at one place."""
    if isinstance(value, Map | Seq):
        return value
    if isinstance(value, Mapping):
        return Map({str(key): _placed(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, list):
        return Seq([_placed(item, origin) for item in value])
    return value


def _chosen(values: Fields) -> dict[str, Any]:
    """The options that are there, by name."""
    values.unknown_keys([item.name for item in dataclass_fields(DrainOptions)], {})
    chosen: dict[str, Any] = {}
    for key in FLAGS:
        if (flag := values.flag(key)) is not None:
            chosen[key] = flag
    mode = values.plain_text("mode")
    modes = get_args(DrainMode)
    if mode and mode not in modes:
        values.expected("mode", f"one of {', '.join(modes)}", similar(mode, modes))
    elif mode:
        chosen["mode"] = mode
    if (timeout := values.seconds("timeout")) is not None:
        chosen["timeout"] = timeout
    for key in ("grace_period", "skip_wait_for_delete_timeout"):
        if values.values.get(key) is not None:
            chosen[key] = values.count(key, 0)
    if taint := _taint(values):
        chosen["taint"] = taint
    return chosen | _which_pods(values)


def _taint(values: Fields) -> str:
    """The taint of a node out of service; "" where there is none or it is wrong, which is noted."""
    text = values.plain_text("taint")
    if text and (problem := _taint_problem(text)):
        where = values.values.where("taint")
        values.note(f"taint: {problem}", where, f"Write key=value:{EFFECTS[0]}, as for kubectl.")
        return ""
    return parse_taint(text).text if text else ""


def _taint_problem(text: str) -> str:
    from runner.modules.node_label import label_name_problem, label_value_problem

    taint = parse_taint(text)
    if taint.effect == "NoExecute":
        return "NoExecute ends pods without asking their budgets; a drain evicts them"
    if taint.effect not in EFFECTS:
        return f"the effect must be one of {', '.join(EFFECTS)}, found {taint.effect!r}"
    if taint.key.startswith(RESERVED):
        return f"{taint.key}: the control plane sets and removes this taint itself"
    return label_name_problem(taint.key) or label_value_problem(taint.value)


def _which_pods(values: Fields) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if selector := values.plain_text("pod_selector"):
        chosen["pod_selector"] = selector
    if namespaces := values.names("namespace_exclude", commas=True):
        chosen["namespace_exclude"] = namespaces
    if "wait_for_jobs" in values.values:
        chosen["wait_for_jobs"] = _job_wait(values)
    return chosen


def _job_wait(outer: Fields) -> JobWait | None:
    if outer.values["wait_for_jobs"] is None:
        return None
    values = Fields(outer.mapping("wait_for_jobs"), "wait_for_jobs", outer.problems)
    values.unknown_keys([item.name for item in dataclass_fields(JobWait)], {})
    selector = values.plain_text("selector")
    if not selector and isinstance(outer.values["wait_for_jobs"], Map):
        where = outer.values.where("wait_for_jobs")
        hint = 'Write the labels of the pods to wait for: selector: "app=training".'
        values.note("wait_for_jobs has no selector", where, hint)
    timeout = values.seconds("timeout")
    return JobWait(selector, JobWait(selector).timeout if timeout is None else timeout)
