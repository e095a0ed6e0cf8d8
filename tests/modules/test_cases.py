"""Every fixture: what is planned, and that nothing is left to do once it is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.hosts.script import Command
from runner.modules.base import Refused, Unknown
from tests.modules import cases

PATHS = sorted(cases.FIXTURES.glob("*/*.yaml"))


@pytest.fixture(params=PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_answer_is_as_the_fixture_says(path: Path) -> None:
    case = cases.load(path)
    for kind, words in ((Refused, "refused"), (Unknown, "unknown")):
        if words in case.written:
            with pytest.raises(kind) as raised:
                case.module.plan(case.arguments, case.observed(), case.context)
            assert case.written[words].strip() in str(raised.value)
            return
    outcome = case.module.plan(case.arguments, case.observed(), case.context)
    wanted = case.written.get("changes", [])
    planned = [cases.shown(change) for change in outcome.changes]
    assert [c["summary"] for c in planned] == [c["summary"] for c in wanted]
    for plan, want in zip(planned, wanted, strict=True):
        assert {name: plan[name] for name in want} == want
    assert [repr(wait) for wait in outcome.waits] == case.written.get("waits", [])
    assert list(outcome.messages) == case.written.get("messages", [])
    for name, value in case.written.get("result", {}).items():
        assert outcome.result[name] == value


def test_nothing_is_left_once_it_is_done(path: Path) -> None:
    case = cases.load(path)
    if "changes" not in case.written:
        return
    states = case.observed()
    for change in case.module.plan(case.arguments, states, case.context).changes:
        states.update(change.overlay)
    reread = replace(case.context, notified=False)
    assert case.module.plan(case.arguments, states, reread).changes == ()


def test_keys_of_commands_are_unique_within_a_change(path: Path) -> None:
    case = cases.load(path)
    if "changes" not in case.written:
        return
    for change in case.module.plan(case.arguments, case.observed(), case.context).changes:
        keys = [action.key for action in change.do if isinstance(action, Command)]
        assert len(keys) == len(set(keys))
