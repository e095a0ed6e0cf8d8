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
from tests.files.local import build

MODES = st.sampled_from(["0600", "0640", "0644", "0755"])
TEXTS = st.text("ab\n\r \té\x00", max_size=12)
FILES = st.fixed_dictionaries({"content": TEXTS, "mode": MODES})
TREES = st.dictionaries(st.sampled_from(["a", "b", "d/a"]), FILES, max_size=3)
PATHS = st.sampled_from(["a", "b", "d/a", "d/e/a"])
OWNERS = st.sampled_from(["0", "12"])
TASKS = st.lists(
    st.one_of(
        st.tuples(st.just("copy"), PATHS, st.fixed_dictionaries({"content": TEXTS})),
        st.tuples(
            st.just("copy"),
            PATHS,
            st.fixed_dictionaries({"content": TEXTS, "mode": MODES, "owner": OWNERS}),
        ),
        st.tuples(
            st.just("lineinfile"), PATHS, st.just({"line": "x", "create": True, "mode": "0644"})
        ),
        st.tuples(st.just("file"), PATHS, st.just({"state": "absent"})),
        st.tuples(st.just("file"), PATHS, st.just({"state": "link", "src": "b"})),
        st.tuples(st.just("file"), PATHS, st.fixed_dictionaries({"mode": MODES, "owner": OWNERS})),
        st.tuples(
            st.just("file"),
            st.sampled_from(["d", "d/e", "x/y"]),
            st.fixed_dictionaries({"state": st.just("directory"), "mode": MODES}),
        ),
    ),
    min_size=1,
    max_size=6,
)


def task(root: Path, module: str, name: str, arguments: dict[str, Any]) -> Any:
    """One task of a playbook, as JSON (which is YAML)."""
    path = "dest" if module == "copy" else "path"
    return {module: {path: f"{root}/{name}", **arguments}}


def everything(root: Path) -> dict[str, tuple[Any, ...]]:
    """Of every path below: its type and mode, owner, and bytes or target."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        content: Any = b""
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        name = str(path.relative_to(root))
        found[name] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


@settings(max_examples=15, deadline=None)
@given(TREES, TASKS, st.booleans())
def test_rolling_back_restores_everything(
    tmp_path_factory: pytest.TempPathFactory,
    kept_folder: Path,
    tree: dict[str, Any],
    tasks: list[tuple[Any, ...]],
    fails: bool,
) -> None:
    """Also what a run did that failed behind it."""
    shutil.rmtree(kept_folder / "run-of-properties", ignore_errors=True)
    folder = tmp_path_factory.mktemp("rolled")
    root = folder / "host"
    (root / "d").mkdir(parents=True)
    build(root, tree)
    before = everything(root)
    written = [task(root, *each) for each in tasks] + [{"command": "false"}] * fails
    one = OneHost(folder, json.dumps([{"hosts": "all", "tasks": written}]))
    plan = one.plan()
    if plan.problem:
        return  # a folder that no task makes, or a link where a file is wanted
    kept: list[KeptChange] = []
    one.keeper = Keeper("run-of-properties", kept.extend)
    assert one.apply(plan).status == ("failed" if fails else "changed" if kept else "ok")
    if not any(each.path for each in kept):
        assert everything(root) == before
        return
    back = rolled(one, kept)
    assert back.apply().status in ("changed", "ok")
    assert everything(root) == before
    assert not back.again().pending, "the second time there is nothing to do"


def rolled(one: OneHost, kept: list[KeptChange]) -> OneHost:
    host = Host("gpu-1", "192.0.2.1", Origin("hosts.yaml", 1, 1))
    inventory = Inventory((), {"gpu-1": host}, {"all": ("gpu-1",)})
    playbook = Playbook(one.subject.playbook, "", (one.subject.play,))
    made = roll_back("run-of-properties", kept, (), playbook, inventory)
    return one.instead(made.playbook.plays[0], made.inventory.hosts["gpu-1"])
