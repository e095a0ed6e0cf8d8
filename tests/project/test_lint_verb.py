"""gpurun lint over files, names, folders and inventories; its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.conftest import Gpurun

ADVICE = "- hosts: gpu\n  tasks:\n    - {name: Look, command: uptime}\n"
WRONG = "- hosts: gpu\n  tasks:\n    - comand: x\n"
USES = "- hosts: gpu\n  tasks:\n    - {name: Say, debug: '{{ size }}'}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "books"
    (folder / "tasks").mkdir(parents=True)
    (folder / "advice.yaml").write_text(ADVICE)
    (folder / "wrong.yml").write_text(WRONG)
    (folder / "part.yaml").write_text("- {name: Say, debug: x}\n")
    (folder / "variables.yaml").write_text("size: 1\n")
    (folder / "notes.txt").write_text("no playbook\n")
    (tmp_path / "work" / "hosts.yaml").write_text(
        "gpu: {hosts: {a: {size: 1}, b: , c: }}\nother: {hosts: {d: }}\n"
    )
    return folder


def test_a_folder_stands_for_its_playbooks(gpurun: Gpurun, folder: Path) -> None:
    code, printed = gpurun("lint", "books")
    assert code == 1
    assert "books/advice.yaml:3:7: warning: nothing tells whether the command is needed" in printed
    assert "books/wrong.yml:3:7: error: there is no module comand" in printed
    assert printed.endswith("1 error, 1 warning in 2 files\n")


def test_a_folder_says_of_a_file_what_the_file_alone_says(gpurun: Gpurun, folder: Path) -> None:
    alone = gpurun("lint", "books/advice.yaml", "books/wrong.yml")[1]
    assert gpurun("lint", "books")[1] == alone


def test_warnings_fail_only_when_that_is_asked_for(gpurun: Gpurun, folder: Path) -> None:
    assert gpurun("lint", "books/advice.yaml")[0] == 0
    assert gpurun("lint", "--strict", "books/advice.yaml")[0] == 1
    assert gpurun("lint", "--strict", "mig-7x1g")[0] == 0


def test_an_inventory_tells_which_hosts_lack_a_variable(gpurun: Gpurun, folder: Path) -> None:
    (folder / "uses.yaml").write_text(USES)
    assert gpurun("lint", "books/uses.yaml")[0] == 0
    code, printed = gpurun("lint", "books/uses.yaml", "-i", "hosts.yaml")
    assert code == 1
    assert "books/uses.yaml:3:26: error: variable size is not defined for b, c" in printed
    assert gpurun("lint", "books/uses.yaml", "-i", "hosts.yaml", "-e", "size=2")[0] == 0


def test_hosts_that_the_inventory_does_not_have_are_a_mistake(gpurun: Gpurun, folder: Path) -> None:
    code, printed = gpurun("lint", "books/advice.yaml", "-i", "x,")
    assert code == 1
    assert "books/advice.yaml:1:3: error: pattern 'gpu' matches no host and no group" in printed


def test_names_that_are_not_there_do_not_hide_other_mistakes(gpurun: Gpurun, folder: Path) -> None:
    code, printed = gpurun("lint", "nope", "gone.yaml", "books/wrong.yml", "books/wrong.yml")
    assert code == 1
    assert "error: there is no playbook nope" in printed
    assert "gone.yaml: error: no such file" in printed
    assert printed.count("there is no module comand") == 1


def test_a_name_that_is_not_there(gpurun: Gpurun) -> None:
    code, printed = gpurun("lint", "mig-7x2g")
    assert (code, "Did you mean mig-7x1g?" in printed) == (1, True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("facts driver kernel -i driver,x", "'driver' is both a fact and a host or group"),
        ("facts drivr -i a,b", "Did you mean driver?"),
        ("facts --only drivr -i a,b", "--only drivr: there is no such fact"),
        ("facts a:nope -i a,b", "nope"),
    ],
)
def test_words_of_facts_that_mean_nothing_or_two_things(
    gpurun: Gpurun, line: str, message: str
) -> None:
    code, printed = gpurun(*line.split())
    assert (code, message in printed) == (1, True)


def test_the_words_of_facts_are_told_apart(gpurun: Gpurun) -> None:
    """Hosts that nothing answers for: what was chosen shows in what is said of them."""
    words = ["facts", "localhost:!b", "kernel", "--only", "os", "-i", "localhost,b"]
    code, printed = gpurun(*words, "-l", "localhost")
    assert code == 1
    assert '"localhost"' in printed and '"b"' not in printed


def test_doc_shows_the_facts(gpurun: Gpurun) -> None:
    code, printed = gpurun("doc", "facts")
    assert (code, "`facts.driver`" in printed) == (0, True)
    assert "facts" in gpurun("doc")[1]
    assert "did you mean 'facts'?" in gpurun("doc", "fact")[1]
