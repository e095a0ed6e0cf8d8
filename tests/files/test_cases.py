"""Every case of `cases/`: what is planned, that it is done, that it is seen, and the way back.

A case is: `module`, `arguments` (ROOT is the folder standing for the host), `before` and `after`
(trees), `changes` (their summaries) or `refused` (part of the message).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.modules.base import Refused
from tests.files.local import Local, build, overlaid, snapshot

CASES = sorted((Path(__file__).parent / "cases").glob("*/*.yaml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    return folder


def load(path: Path, root: Path) -> dict[str, Any]:
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    case["arguments"] = {
        name: value.replace("ROOT", str(root)) if isinstance(value, str) else value
        for name, value in case["arguments"].items()
    }
    return case


def expected_tree(folder: Path, tree: dict[str, Any]) -> dict[str, tuple[str, str]]:
    folder.mkdir()
    build(folder, tree)
    return snapshot(folder)


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_case(path: Path, root: Path, tmp_path: Path) -> None:
    case = load(path, root)
    build(root, case.get("before", {}))
    untouched = snapshot(root)
    host = Local(root, {k: v.encode() for k, v in case.get("files", {}).items()})
    module, arguments = case["module"], case["arguments"]
    observed = host.observe(module, arguments)

    if "refused" in case:
        with pytest.raises(Refused) as refusal:
            host.plan(module, arguments, observed)
        assert case["refused"] in str(refusal.value).replace(str(root), "ROOT")
        return

    outcome = host.plan(module, arguments, observed)
    summaries = [change.summary.replace(str(root), "ROOT") for change in outcome.changes]
    if "changes" in case:
        me = next(s for k, s in observed.items() if k.startswith("file:") and s.uid is not None)
        wanted = [c.replace("ME", f"{me.owner}:{me.group}") for c in case["changes"]]
        assert summaries == wanted
    assert not host.plan(module, arguments, overlaid(observed, outcome)).changes, (
        "planning again on the predicted state must find nothing to do"
    )

    for change in outcome.changes:
        host.apply(change)
    again = host.plan(module, arguments, host.observe(module, arguments))
    assert not again.changes, "planning again on what is really there must find nothing to do"
    expected = expected_tree(tmp_path / "expected", case.get("after", case.get("before", {})))
    here, there = str(root), str(tmp_path / "expected")
    assert {k: (a, b.replace(there, here)) for k, (a, b) in expected.items()} == snapshot(root)

    if all(change.undo for change in outcome.changes):
        for change in reversed(outcome.changes):
            host.do(change.undo)
        assert {k: v for k, v in snapshot(root).items() if not k.endswith("~")} == untouched
