"""The inventory that is listed by both tools is one and the same in all its forms."""

from __future__ import annotations

from pathlib import Path

from benchmarks.inventories import write
from runner.inventory.blame import as_list
from runner.inventory.load import load_tree


def test_all_forms_say_the_same(tmp_path: Path) -> None:
    first, *others = (as_list(load_tree([str(file)], tmp_path)) for file in write(tmp_path, 20, 4))
    assert len(first["_meta"]["hostvars"]) == 20
    assert len(first["all"]["children"]) == 5
    assert others == [first, first]
