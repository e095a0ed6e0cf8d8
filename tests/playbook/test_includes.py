"""include_tasks, include_vars and import_playbook: settled while loading, as far as is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.playbook.document import Play
from runner.playbook.load import load_playbook
from runner.playbook.tags import select_tags
from tests.playbook.files import told, write

TASKS = {
    f"tasks/{name}.yaml": f"- {{name: On {name}, command: x}}\n" for name in ("debian", "ubuntu")
}


def load(folder: Path, play: str, more: dict[str, str] | None = None, **extra: Any) -> Play:
    files = {**TASKS, **(more or {}), "site.yaml": f"- hosts: all\n{play}"}
    return load_playbook(write(folder, files), extra).plays[0]


def names(play: Play) -> list[str]:
    return [task.name for task in play.tasks]


INCLUDE = "  tasks: [include_tasks: 'tasks/{{ os }}.yaml']\n"


@pytest.mark.parametrize(
    ("play", "extra"),
    [
        (f"  vars: {{os: debian}}\n{INCLUDE}", {}),
        (f"  vars: {{os: ubuntu}}\n{INCLUDE}", {"os": "debian"}),
        (f"  vars: {{os: '{{{{ family }}}}', family: debian}}\n{INCLUDE}", {}),
        (f"  vars: {{os: ubuntu}}\n  vars_files: [v.yaml]\n{INCLUDE}", {}),
    ],
    ids=["vars", "-e", "of another variable", "vars_files"],
)
def test_a_name_that_is_known_while_loading(
    tmp_path: Path, play: str, extra: dict[str, Any]
) -> None:
    got = load(tmp_path, play, {"v.yaml": "{os: debian}\n"}, **extra)
    assert [(task.name, task.when) for task in got.tasks] == [("On debian", ())]


@pytest.mark.parametrize(
    "play",
    [
        INCLUDE,
        f"  vars: {{os: '{{{{ facts.os.id }}}}'}}\n{INCLUDE}",
        "  vars: {os: debian}\n  pre_tasks: [{command: x, register: os}]\n" + INCLUDE,
    ],
    ids=["inventory", "fact", "set by a task"],
)
def test_a_name_that_a_host_decides_brings_in_each_file(tmp_path: Path, play: str) -> None:
    check, debian, ubuntu = load(tmp_path, play).tasks[-3:]
    assert check.module == "assert" and check.name == "include_tasks tasks/{{ os }}.yaml"
    same = '"tasks/" ~ (os) ~ ".yaml" == "tasks/{}.yaml"'
    assert (debian.name, debian.when) == ("On debian", (same.format("debian"),))
    assert (ubuntu.name, ubuntu.when) == ("On ubuntu", (same.format("ubuntu"),))


def test_files_that_are_not_meant_are_not_read(tmp_path: Path) -> None:
    """A pattern also finds the playbook itself, other playbooks, files of variables."""
    more = {
        "other.yaml": "- {hosts: all, tasks: [{nothing: x}]}\n",
        "all.yaml": "- import_playbook: other.yaml\n",
        "v.yaml": "{x: 1}\n",
        "debian.yaml": "- {name: On debian, command: x}\n",
    }
    text = "  tasks: [include_tasks: '{{ os }}.yaml', include_vars: '{{ os }}.yaml', command: x]\n"
    play = load(tmp_path, text, more)
    assert names(play) == [
        "include_tasks {{ os }}.yaml",
        "On debian",
        "include_vars {{ os }}.yaml",
        "command",
    ]
    assert [part.values for part in play.tasks[-1].included] == [{"x": 1}]


def test_a_file_that_a_pattern_finds_and_that_is_broken_is_told(tmp_path: Path) -> None:
    files = {
        "broken.yaml": "- a: [\n",
        "site.yaml": "- hosts: all\n  tasks: [include_tasks: '{{ os }}.yaml']\n",
    }
    (message,) = told(load_playbook, write(tmp_path, files))
    assert "structure breaks" in message or "YAML" in message


def test_what_an_include_hands_down(tmp_path: Path) -> None:
    """Conditions and variables, and what is in apply; blocks around count as for any task."""
    text = """
  tasks:
    - become: true
      tags: [block]
      block:
        - include_tasks: {file: tasks/debian.yaml, apply: {tags: [applied], timeout: 5}}
          when: a
          vars: {n: 1}
          tags: [beside]
"""
    (task,) = load(tmp_path, text).tasks
    assert (task.when, task.become, task.timeout) == (("a",), True, 5)
    assert (task.variables, task.parameters) == ({}, {"n": 1})
    assert task.tags == ("block", "applied")
    assert task.include_tags == (("block", "beside"),)


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [("", ["One", "Two"]), ("a", ["One"]), ("b", []), ("c", ["Two"]), ("a,b", ["One"])],
)
def test_tags_select_the_include_and_then_its_tasks(
    tmp_path: Path, tags: str, chosen: list[str]
) -> None:
    inside = "- {name: One, command: x, tags: [a, b]}\n- {name: Two, command: x, tags: c}\n"
    files = {
        "t.yaml": inside,
        "site.yaml": "- hosts: all\n  tasks:\n    - {include_tasks: t.yaml, tags: [a, c]}\n",
    }
    playbook = select_tags(load_playbook(write(tmp_path, files)), [tags], [])
    assert [task.name for play in playbook.plays for task in play.tasks] == chosen


def test_a_loop_over_files(tmp_path: Path) -> None:
    text = """
  vars: {all: [debian, ubuntu, debian]}
  tasks:
    - include_tasks: tasks/{{ os }}.yaml
      loop: "{{ all | unique }}"
      loop_control: {loop_var: os, index_var: n}
"""
    play = load(tmp_path, text)
    assert names(play) == ["On debian (debian)", "On ubuntu (ubuntu)"]
    assert [task.parameters for task in play.tasks] == [
        {"os": "debian", "n": 0},
        {"os": "ubuntu", "n": 1},
    ]


def test_loops_inside_loops(tmp_path: Path) -> None:
    more = {
        "outer.yaml": "- include_tasks: inner.yaml\n  loop: ['{{ one }}1', x]\n"
        "  loop_control: {loop_var: two}\n",
        "inner.yaml": "- {name: Say, command: 'echo {{ one }}{{ two }}'}\n",
    }
    text = "  tasks:\n    - include_tasks: outer.yaml\n      loop: [a, b]\n"
    play = load(tmp_path, f"{text}      loop_control: {{loop_var: one}}\n", more)
    assert names(play) == ["Say (a, a1)", "Say (a, x)", "Say (b, b1)", "Say (b, x)"]
    assert play.tasks[2].parameters == {"one": "b", "two": "b1"}


def test_the_items_of_a_loop_may_use_what_a_host_decides(tmp_path: Path) -> None:
    text = "  tasks:\n    - include_tasks: tasks/debian.yaml\n      loop: ['{{ facts.kernel }}']\n"
    (task,) = load(tmp_path, text).tasks
    assert task.parameters == {"item": "{{ facts.kernel }}"}


def test_labels_of_a_loop(tmp_path: Path) -> None:
    loop = "      with_dict: {a: {x: 1}}\n      loop_control: {label: '{{ item.key }}!'}\n"
    text = f"  tasks:\n    - include_tasks: tasks/debian.yaml\n{loop}"
    assert names(load(tmp_path, text)) == ["On debian (a!)"]
    assert names(load(tmp_path, f"{text}      no_log: true\n")) == ["On debian (item 1)"]


def test_a_named_include_is_a_handler_of_all_its_tasks(tmp_path: Path) -> None:
    text = """
  tasks: [{command: x, notify: [all of them, On debian]}]
  handlers:
    - name: all of them
      include_tasks: tasks/{{ item }}.yaml
      loop: [debian, ubuntu]
"""
    play = load(tmp_path, text)
    assert play.tasks[0].notify == ("On debian (debian)", "On ubuntu (ubuntu)")


def test_an_imported_file_of_handlers(tmp_path: Path) -> None:
    text = "  tasks: [{command: x, notify: On debian}]\n"
    play = load(tmp_path, f"{text}  handlers: [import_tasks: tasks/debian.yaml]\n")
    assert play.tasks[0].notify == ("On debian",)


def test_include_vars_count_for_the_tasks_after_it(tmp_path: Path) -> None:
    more = {"vars/a.yaml": "{x: 1}\n", "b.yaml": "{y: 2}\n"}
    text = """
  tasks:
    - {name: Before, command: x}
    - {include_vars: a.yaml, when: wanted, tags: t}
    - {name: Between, command: x}
    - include_vars: {file: b.yaml, name: all}
  handlers: [{name: Handler, command: x}]
"""
    play = load(tmp_path, text, more)
    before, between = play.tasks
    assert before.included == ()
    (first,) = between.included
    assert (first.values, first.when, first.tags) == ({"x": 1}, ("wanted",), ("t",))
    assert [part.values for part in play.handlers[0].included] == [{"x": 1}, {"all": {"y": 2}}]


def test_skipped_tags_leave_variables_out(tmp_path: Path) -> None:
    files = {
        "a.yaml": "{x: 1}\n",
        "site.yaml": "- hosts: all\n  tasks:\n    - {include_vars: a.yaml, tags: t}\n"
        "    - {name: One, command: x}\n",
    }
    (play,) = select_tags(load_playbook(write(tmp_path, files)), [], ["t"]).plays
    assert play.tasks[0].included == ()


def test_files_that_multiply_end_early(tmp_path: Path) -> None:
    files = {
        f"f{n}.yaml": f"- include_tasks: f{n + 1}.yaml\n  loop: [{'x, ' * 9}x]\n" for n in range(6)
    }
    files |= {"f6.yaml": "- {name: x, command: x}\n"}
    files["site.yaml"] = "- hosts: all\n  tasks: [include_tasks: f0.yaml]\n"
    messages = told(load_playbook, write(tmp_path, files))
    assert "include_tasks: more than 1000 imports" in messages


def test_files_that_are_too_large_together(tmp_path: Path) -> None:
    text = "- {name: x, command: x}\n#" + "x" * 3_000_000
    files = {"big.yaml": text}
    files["site.yaml"] = "- hosts: all\n  tasks:\n" + "    - include_tasks: big.yaml\n" * 4
    (message,) = told(load_playbook, write(tmp_path, files))
    assert "larger than 10,000,000 bytes" in message


def test_what_a_task_of_an_earlier_play_sets_is_not_known(tmp_path: Path) -> None:
    first = "- {hosts: all, tasks: [{set_fact: {os: ubuntu}}]}\n"
    text = f"{first}- hosts: all\n  vars: {{os: debian}}\n{INCLUDE}"
    second = load_playbook(write(tmp_path, {**TASKS, "site.yaml": text})).plays[1]
    assert [task.module for task in second.tasks] == ["assert", "command", "command"]


def test_files_of_a_block_that_has_a_rescue(tmp_path: Path) -> None:
    text = """
  tasks:
    - run_once: true
      block: [include_tasks: "tasks/{{ os }}.yaml"]
      rescue: [import_tasks: tasks/debian.yaml]
"""
    tasks = load(tmp_path, text).tasks
    assert [[part.kind for part in task.blocks] for task in tasks] == [
        ["block"],
        ["block"],
        ["block"],
        ["rescue"],
    ]
    assert all(task.run_once for task in tasks)


# -- import_playbook ------------------------------------------------------------------------------

IMPORTED = """
- hosts: gpu
  vars: {a: 1, b: 1}
  vars_files: [more.yaml]
  preconditions: [{name: safe, assert: {that: "true"}}]
  roles: [{role: app, tags: app}]
  tasks: [{name: One, command: x, when: own, tags: own, notify: h}]
  handlers: [{name: h, command: x}]
"""


def test_the_plays_of_another_playbook(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "site.yaml": "- {hosts: all, tasks: [{name: Zero, command: x}]}\n"
            "- import_playbook: sub/{{ which }}.yaml\n  vars: {b: 2, c: 2}\n  when: wanted\n"
            "  tags: [t]\n",
            "sub/other.yaml": IMPORTED,
            "sub/more.yaml": "{c: 3}\n",
            "sub/roles/app/tasks/main.yaml": "- {name: Role, command: x}\n",
        },
    )
    playbook = load_playbook(path, {"which": "other"})
    first, second = playbook.plays
    assert (first.path, second.path) == (None, tmp_path / "sub" / "other.yaml")
    assert second.variables == {"a": 1, "b": 2, "c": 3}
    assert [(task.name, task.when, task.tags) for task in second.tasks] == [
        ("app : Role", ("wanted",), ("t", "app")),
        ("One", ("wanted", "own"), ("t", "own")),
    ]
    assert second.preconditions[0].when == ("wanted",)
    assert second.handlers[0].when == ()
    assert "name: One" in playbook.text


def test_playbooks_that_import_each_other(tmp_path: Path) -> None:
    files = {
        "site.yaml": "- import_playbook: sub/a.yaml\n",
        "sub/a.yaml": "- import_playbook: ../site.yaml\n",
    }
    assert told(load_playbook, write(tmp_path, files)) == [
        "import_playbook goes round in a circle: site.yaml → a.yaml → site.yaml"
    ]
