"""What people complain about in the errors of other tools does not happen here.

One test for each complaint, numbered as such complaints are often collected: H, 42 to 44.
"""

from __future__ import annotations

import json
from pathlib import Path

from runner.errors import InputError
from runner.inventory.blame import blame
from runner.inventory.load import load_tree
from runner.playbook.load import load_playbook
from tests.engine.plays import OneHost
from tests.project.conftest import Gpurun, gpurun

__all__ = ["gpurun"]


def test_h42_an_undefined_variable_has_a_name_a_place_and_a_near_one(tmp_path: Path) -> None:
    one = OneHost(
        tmp_path,
        "- hosts: all\n  vars: {motd_text: hello}\n  tasks:\n    - name: motd\n"
        "      copy:\n        dest: /etc/motd\n        content: '{{ motd_txt }}'\n",
    )
    problem = one.plan().problem
    assert problem is not None
    assert "playbook.yaml:7:18: variable motd_txt is not defined" in problem.reason
    assert "Did you mean motd_text?" in problem.reason


def test_h42_so_has_one_in_a_template_file(tmp_path: Path) -> None:
    (tmp_path / "motd.j2").write_text("one\ntwo {{ motd_txt }}\n")
    one = OneHost(
        tmp_path,
        "- hosts: all\n  tasks:\n    - {name: motd, template: {src: motd.j2, dest: /etc/motd}}\n",
    )
    problem = one.plan().problem
    assert problem is not None
    assert "motd.j2:2:1: variable motd_txt is not defined" in problem.reason


def test_h42_it_is_found_before_any_host_is_touched(gpurun: Gpurun) -> None:
    Path("p.yaml").write_text(
        "- hosts: all\n  tasks:\n    - {name: Say, debug: 'it is {{ missing }}'}\n"
    )
    code, printed = gpurun("lint", "p.yaml", "-i", "gpu-1,")
    assert code == 1
    assert "p.yaml:3:26: error: variable missing is not defined" in printed
    assert "  3 |     - {name: Say, debug: 'it is {{ missing }}'}\n" in printed


def test_h43_every_variable_tells_where_it_was_set_and_what_it_overrode(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("gpu:\n  hosts: {a: }\n  vars:\n    size: 1\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "a.yaml").write_text("size: 2\n")
    text = blame(load_tree([str(tmp_path / "hosts.yaml")], tmp_path), "a")
    wins, loses = text.replace(f"{tmp_path}/", "").splitlines()
    assert wins.startswith("size = 2    host_vars/a.yaml:1:")
    assert loses.startswith("    over 1    hosts.yaml:4:")


def test_h44_every_mistake_has_its_line_and_all_are_told_at_once(gpurun: Gpurun) -> None:
    Path("p.yaml").write_text(
        "- hosts: all\n  becom: true\n  tasks:\n    - {name: A, cpoy: {dest: /x}}\n"
        "    - {name: B, copy: {dset: /x}}\n    - {name: C, file: {path: /x, state: [1]}}\n"
    )
    found = json.loads(gpurun("lint", "--format", "json", "p.yaml")[1])
    assert {2, 4, 5, 6} == {item["line"] for item in found}
    assert all(item["column"] for item in found)


def test_h44_lint_refuses_what_loading_refuses_in_the_same_words(gpurun: Gpurun) -> None:
    Path("p.yaml").write_text("- hosts: all\n  becom: true\n")
    try:
        load_playbook(Path("p.yaml"))
    except InputError as error:
        (loaded,) = error.problems
    printed = gpurun("lint", "p.yaml")[1]
    planned = gpurun("plan", "p.yaml", "-i", "gpu-1,")[1]
    first = f"{loaded.origin}: error: {loaded.message}"
    assert printed.startswith(first) and planned.startswith(first)


def test_h44_a_file_alone_is_judged_as_in_its_folder(gpurun: Gpurun) -> None:
    Path("books").mkdir()
    Path("books/a.yaml").write_text("- hosts: all\n  tasks:\n    - {name: A, command: ls}\n")
    Path("books/b.yaml").write_text("- hosts: all\n  becom: true\n")
    alone = [
        line
        for name in ("a", "b")
        for line in gpurun("lint", f"books/{name}.yaml")[1].splitlines()[:-1]
    ]
    assert gpurun("lint", "books")[1].splitlines()[:-1] == alone
