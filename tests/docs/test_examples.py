"""What the pages show exists: playbooks and inventories load, commands, links and keys are real."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from runner.cli.main import cli
from runner.facts.base import FACTS
from runner.inventory import kubernetes
from runner.inventory.load import load_inventory
from runner.kube.state import DrainOptions
from runner.lab.kube.nodes import SimulatedNode, node_object
from runner.playbook.expressions import Environment
from runner.playbook.functions import FUNCTIONS
from runner.playbook.keywords import PLAY_KEYS, TASK_KEYS
from runner.playbook.load import load_playbook_text
from runner.playbook.lookups import LOOKUPS
from tests.docs.pages import ROOT, WRITTEN, Block, blocks, commands

LANGUAGE = ROOT / "docs" / "playbook-language.md"
EXPRESSIONS = ROOT / "docs" / "expressions.md"
PARTS = {"tasks": "- hosts: all\n  tasks:\n", "play": "- hosts: all\n"}
"""How an example that is no whole playbook begins, by its marking `# tasks` or `# play`."""

READ_BY_OTHERS = ("roles/", "tasks/", "vars/")
"""Where files lie that are no playbooks: an example of the same page has to read each."""


def _examples() -> list[tuple[Path, Block]]:
    return [
        (page, block)
        for page in WRITTEN
        for block in blocks(page, "yaml", "ini", "toml")
        if block.language != "toml" or block.file.startswith("inventory/")
    ]


def _whole(text: str) -> str:
    """An example as a playbook: its first line may say that it is a part of one."""
    kind = text.partition("\n")[0].removeprefix("# ")
    if kind not in PARTS:
        return text
    indent = "    " if kind == "tasks" else "  "
    return PARTS[kind] + "".join(f"{indent}{line}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("page", "block"), [pytest.param(p, b, id=f"{p.name}:{b.line}") for p, b in _examples()]
)
def test_every_example_loads(
    page: Path, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The cluster of an example has one node of the lab.
    monkeypatch.setattr(
        kubernetes, "_list", lambda source: [node_object(SimulatedNode("n1", "10.0.0.1"))]
    )
    if block.file.startswith(("group_vars/", "host_vars/")):
        (tmp_path / "hosts.yaml").write_text("all:\n  hosts:\n    one:\n")
        path = tmp_path / block.file
        path.parent.mkdir()
        path.write_text(block.text)
        assert load_inventory([str(tmp_path / "hosts.yaml")], tmp_path).hosts
    elif block.file.startswith("inventory/"):
        path = tmp_path / Path(block.file).name
        path.write_text(block.text)
        assert load_inventory([str(path)], tmp_path).hosts
    elif block.file.startswith(READ_BY_OTHERS):
        assert any(block.text in text for text in _playbooks(page, tmp_path))
    else:
        assert block.text in _loaded(page, block, tmp_path)


def _loaded(page: Path, block: Block, folder: Path) -> str:
    """All that is read to load an example, among the files that its page shows."""
    for shown in blocks(page, "yaml"):
        if shown.file and (shown.file.startswith(READ_BY_OTHERS) or "/" not in shown.file):
            path = folder / shown.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(shown.text)
    whole = _whole(block.text)
    playbook = load_playbook_text(whole, folder / f"{page.name}:{block.line}")
    assert playbook.plays
    return block.text + playbook.text.removeprefix(whole)


def _playbooks(page: Path, folder: Path) -> Iterator[str]:
    """What each example of the page reads that is a playbook."""
    for block in blocks(page, "yaml"):
        if not block.file.startswith((*READ_BY_OTHERS, "group_vars/", "host_vars/", "inventory/")):
            yield _loaded(page, block, folder).removeprefix(block.text)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_command_exists(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line.rstrip("\\"), comments=True)
        _known(words[2:] if words[0] == "./dev" else words[1:], line, words[0] == "./dev")


def _known(words: list[str], line: str, is_lab: bool) -> None:
    words = ["lab", *words] if is_lab else words
    words = words[: next((n for n, word in enumerate(words) if word in "|<>&;"), len(words))]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        verb, *words = words
        if re.fullmatch(r"[A-Z.…]+|up\|down.*", verb):
            return  # a placeholder: gpurun lab fault KIND NODE
        found = command.get_command(click.Context(command), verb)
        assert found, f"{line}: there is no verb {verb}"
        command = found
        if command.context_settings.get("ignore_unknown_options"):
            return  # what follows is a command for the node
    known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in known, f"{line}: there is no option {word}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: no {target}"


def _table(heading: str, page: Path = LANGUAGE) -> dict[str, str]:
    """The rows of the table under a heading: first column -> second."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, f"{page} has no section {heading}"
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE)
    return dict(rows)


def test_the_language_page_has_every_key() -> None:
    assert set(_table("Keys of a play")) == set(PLAY_KEYS)
    assert set(_table("Keys of a task")) == set(TASK_KEYS)


def test_the_readme_lists_every_shipped_playbook_once() -> None:
    table = (ROOT / "README.md").read_text().partition("## Playbooks")[2].partition("\n## ")[0]
    found = re.findall(r"\[([a-z0-9-]+)\]\(playbooks/\1\.yaml\)", table)
    assert sorted(found) == sorted(path.stem for path in (ROOT / "playbooks").glob("*.yaml"))


def test_the_tests_of_the_remedies_are_about_their_playbooks() -> None:
    text = (ROOT / "docs" / "remedies.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("|") and "`tests/" in row]
    assert rows
    for row in rows:
        paths = [ROOT / name for name in re.findall(r"`(tests/[^`]+)`", row)]
        files = [
            file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))
        ]
        proofs = "".join(file.read_text() for file in files)
        for playbook in re.findall(r"\(playbooks/([a-z0-9-]+)\.md\)", row):
            assert re.search(rf"(?<![a-z-]){playbook}(?![a-z-])", proofs), f"{playbook}: {row}"


def test_the_page_on_draining_has_every_option() -> None:
    page = LANGUAGE.with_name("drain.md")
    assert set(_table("Options", page)) == {field.name for field in fields(DrainOptions)}


def test_the_language_page_has_every_fact() -> None:
    text = LANGUAGE.read_text()
    for name in FACTS:
        assert f"`facts.{name}`" in text


def _first_cells(heading: str) -> set[str]:
    """What the tables below a heading of the page of expressions name in their first column."""
    section = EXPRESSIONS.read_text().split(f"\n## {heading}\n", 1)[1].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_page_of_expressions_names_what_there_is_and_nothing_else() -> None:
    environment = Environment()
    offered = {name for name in environment.filters if name.isidentifier()}
    assert _first_cells("Filters") == offered
    assert _first_cells("Tests") == {name for name in environment.tests if "." not in name}
    assert _first_cells("Functions") == set(FUNCTIONS)
    assert _first_cells("Lookups") == set(LOOKUPS)
