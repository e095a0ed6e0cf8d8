"""Whatever file tasks a run carried out: rolling it back restores bytes, modes and owners."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine.kept import Keeper, KeptChange
from runner.engine.rollback import roll_back
from runner.errors import Origin
from runner.inventory.model import Host, Inventory
from runner.playbook.document import Playbook
from tests.engine.plays import OneHost
from tests.files.local import build, snapshot

MODES = st.sampled_from(["0600", "0640", "0644", "0755"])
TEXTS = st.text("ab\n\r \té\x00", max_size=12)
FILES = st.fixed_dictionaries({"content": TEXTS, "mode": MODES})
TREES = st.dictionaries(st.sampled_from(["a", "b", "d/a"]), FILES, max_size=3)
PATHS = st.sampled_from(["a", "b", "d/a", "d/e/a"])
TASKS = st.lists(
    st.one_of(
        st.tuples(st.just("copy"), PATHS, TEXTS, st.one_of(st.none(), MODES)),
        st.tuples(st.just("absent"), PATHS),
        st.tuples(st.just("folder"), st.sampled_from(["d", "d/e", "x/y"])),
    ),
    min_size=1,
    max_size=5,
)


def task(root: Path, kind: str, name: str, content: str = "", mode: str | None = None) -> Any:
    """One task of a playbook, as JSON (which is YAML)."""
    if kind == "copy":
        arguments = {"dest": f"{root}/{name}", "content": content}
        return {"copy": arguments | ({"mode": mode} if mode else {})}
    state = {"folder": "directory", "absent": "absent"}[kind]
    return {"file": {"path": f"{root}/{name}", "state": state}}


@settings(
    max_examples=15,
    deadline=None,
)
@given(TREES, TASKS)
def test_rolling_back_restores_everything(
    tmp_path_factory: pytest.TempPathFactory,
    kept_folder: Path,
    tree: dict[str, Any],
    tasks: list[tuple[Any, ...]],
) -> None:
    shutil.rmtree(kept_folder / "run-of-properties", ignore_errors=True)
    folder = tmp_path_factory.mktemp("rolled")
    root = folder / "host"
    (root / "d").mkdir(parents=True)
    build(root, tree)
    before = snapshot(root)
    plays = [{"hosts": "all", "tasks": [task(root, *each) for each in tasks]}]
    one = OneHost(folder, json.dumps(plays))
    plan = one.plan()
    if plan.problem:
        return  # a folder that no task makes
    kept: list[KeptChange] = []
    one.keeper = Keeper("run-of-properties", kept.extend)
    assert one.apply(plan).status in ("changed", "ok")
    if not kept:
        assert snapshot(root) == before
        return
    back = rolled(one, kept)
    assert back.apply().status in ("changed", "ok")
    assert snapshot(root) == before
    assert not back.again().pending, "the second time there is nothing to do"


def rolled(one: OneHost, kept: list[KeptChange]) -> OneHost:
    host = Host("gpu-1", "192.0.2.1", Origin("hosts.yaml", 1, 1))
    inventory = Inventory((), {"gpu-1": host}, {"all": ("gpu-1",)})
    playbook = Playbook(one.subject.playbook, "", (one.subject.play,))
    made = roll_back("run-of-properties", kept, (), playbook, inventory)
    return one.instead(made.playbook.plays[0], made.inventory.hosts["gpu-1"])
