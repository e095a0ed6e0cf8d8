"""The committed pages say what the code says."""

from __future__ import annotations

from pathlib import Path

from runner.modules.registry import MODULES, load_module
from runner.reports import pages

ROOT = Path(__file__).parents[2]


def test_pages_are_current() -> None:
    written = {
        str(path.relative_to(ROOT / "docs")): path.read_text()
        for folder in ("modules", "playbooks")
        for path in (ROOT / "docs" / folder).glob("*.md")
    }
    written["facts.md"] = (ROOT / "docs" / "facts.md").read_text()
    wanted = pages.pages(ROOT / "playbooks")
    different = [name for name in wanted | written if wanted.get(name) != written.get(name)]
    assert different == [], "run: python -m runner.reports.pages docs/"


def test_pages_of_what_is_no_more_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / "modules" / "gone.md"
    stale.parent.mkdir()
    stale.write_text("# gone\n")
    changed = pages.write(tmp_path, ROOT / "playbooks")
    assert stale in changed
    assert not stale.exists()
    assert pages.write(tmp_path, ROOT / "playbooks") == []


def test_module_page_names_every_argument() -> None:
    for name in MODULES:
        page = pages.module_page(name)
        for argument, field in load_module(name).arguments.model_fields.items():
            assert f"| `{field.alias or argument}` |" in page


def test_playbook_page_shows_its_tasks_in_order(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(
        "# Does it.\n#\n#   gpurun plan demo.yaml\n#\n# More | less.\n"
        "- name: The play\n  hosts: gpu\n  vars: {count: 7}\n  tasks:\n"
        "    - name: First\n      debug: one\n      when: count > 3\n      notify: then\n"
        "    - name: Second\n      debug: two\n"
        "  handlers:\n    - name: then\n      debug: three\n"
    )
    assert pages.playbook_page(path).partition("-->\n")[2] == (
        "# demo.yaml\n\nDoes it.\n\n```sh\ngpurun plan demo.yaml\n```\n\nMore | less.\n\n"
        "## The play\n\nHosts: `gpu`. Waves: 1, 100%.\n\n"
        "Variables, to be set with `-e`:\n\n"
        "| Variable | Default |\n| --- | --- |\n| `count` | `7` |\n\n"
        "Tasks:\n\n"
        "1. First ([`debug`](../modules/debug.md), when `count > 3`, notifies *then*)\n"
        "1. Second ([`debug`](../modules/debug.md))\n\n"
        "Handlers:\n\n1. then ([`debug`](../modules/debug.md))\n"
    )
