"""One small YAML file per case: what a module is asked, what the host printed, what it answers.

A case holds `arguments`, optionally `context` and `node`, `observed` (what each probe printed, in
the order of the module's probes; nothing, with status 0, for those left out), `cluster` (the
answers to its cluster probes), and one of
`changes`, `refused`, `unknown`, beside `waits`, `messages` and `result` (of which only the named
keys are compared).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from runner.hosts.script import Command, Result
from runner.kube.state import NODE, ClusterAnswer, NodeState, ObjectState, PodState
from runner.modules.base import Change, Context, Module
from runner.modules.registry import load_module

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Case:
    """One fixture, ready to be planned."""

    module: Module[Any]
    arguments: Any
    context: Context
    written: Mapping[str, Any]

    def observed(self) -> dict[str, Any]:
        """What the probes' parsers make of the recorded output; raises what they raise."""
        probes = self.module.probes(self.arguments, self.context)
        outputs = self.written.get("observed", [])
        assert len(outputs) <= len(probes), [probe.shell for probe in probes]
        states = {
            probe.key: probe.parse(result(output or {}))
            for probe, output in zip_longest(probes, outputs)
        }
        objects = self.module.cluster_probes(self.arguments, self.context)
        for probe, answer in zip(objects, self.written.get("cluster", []), strict=False):
            states[probe.key] = cluster(answer)
        if "node" in self.written:
            states[NODE] = node(self.written["node"])
        return states


def load(path: Path) -> Case:
    written = yaml.safe_load(path.read_text())
    module = load_module(path.parent.name)
    return Case(
        module,
        module.arguments.model_validate(written["arguments"]),
        Context(**{"host": "gpu1", "notified": True, **written.get("context", {})}),
        written,
    )


def result(output: Mapping[str, Any]) -> Result:
    return Result(
        rc=output.get("rc", 0),
        stdout=output.get("stdout", "").encode(),
        stderr=output.get("stderr", "").encode(),
        timed_out=output.get("timed_out", False),
        truncated=output.get("truncated", False),
    )


def cluster(answer: Any) -> ClusterAnswer:
    """A list is all nodes of the cluster, anything else a live object or its absence."""
    return tuple(map(node, answer)) if isinstance(answer, list) else ObjectState(answer)


def node(written: Mapping[str, Any]) -> NodeState:
    pods = tuple(PodState(**{"uid": "u", "phase": "Running", **p}) for p in written.get("pods", []))
    return NodeState(**{"name": "gpu1", **written, "pods": pods})


def shown(change: Change) -> dict[str, Any]:
    """A change as a fixture writes it."""
    return {
        "summary": change.summary,
        "do": [a.shell if isinstance(a, Command) else repr(a) for a in change.do],
        "guard": change.guard,
        "risk": change.risk.name.lower(),
        "disruption": change.disruption.name.lower(),
        "before": change.before,
        "after": change.after,
        "predictable": change.predictable,
        "undo": [command.shell for command in change.undo],
        "stdin": [a.stdin.decode() for a in change.do if isinstance(a, Command)],
        "timeout": [a.timeout for a in change.do if isinstance(a, Command)],
    }
