"""Blocks and imported files of tasks: taken apart when loaded, each task with what it inherits."""

from pathlib import Path

import pytest

from runner.errors import InputError
from runner.playbook.document import Play
from runner.playbook.load import load_playbook, load_playbook_text


def play(text: str, path: Path = Path("p.yaml")) -> Play:
    return load_playbook_text(text, path).plays[0]


def problems(text: str, path: Path = Path("p.yaml")) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_playbook_text(text, path)
    return [str(problem) for problem in caught.value.problems]


NESTED = """
- hosts: gpu
  handlers:
    - name: restart
      service: {name: x, state: restarted}
  tasks:
    - name: Outer
      when: a
      become: true
      tags: outer
      vars: {size: 1, kept: 1}
      environment: {A: "1"}
      ignore_errors: true
      block:
        - name: First
          command: "true"
          notify: restart
        - when: [b]
          tags: inner
          block:
            - name: Second
              command: "true"
              when: c
              become: false
              tags: [own, outer]
              vars: {size: 2}
              environment: {B: "2"}
              ignore_errors: false
    - name: Third
      command: "true"
"""


def test_tasks_of_a_block_stand_in_its_place() -> None:
    assert [task.name for task in play(NESTED).tasks] == ["First", "Second", "Third"]


def test_a_task_takes_what_its_block_says() -> None:
    first = play(NESTED).tasks[0]
    assert (first.when, first.become, first.tags) == (("a",), True, ("outer",))
    assert (first.variables, first.environment) == ({"size": 1, "kept": 1}, {"A": "1"})
    assert first.ignore_errors


def test_what_the_task_says_itself_wins_and_conditions_and_tags_add_up() -> None:
    second = play(NESTED).tasks[1]
    assert second.when == ("a", "b", "c")
    assert (second.become, second.ignore_errors) == (False, False)
    assert second.tags == ("outer", "inner", "own")
    assert second.variables == {"size": 2, "kept": 1}
    assert second.environment == {"A": "1", "B": "2"}


def test_nothing_leaks_out_of_a_block() -> None:
    third = play(NESTED).tasks[2]
    assert (third.when, third.become, third.tags, third.variables) == ((), None, (), {})


def test_a_precondition_in_a_block_still_only_looks() -> None:
    told = problems("- hosts: a\n  verify:\n    - block:\n        - command: reboot now\n")
    assert any("verify: command may change the host" in text for text in told)


def test_an_unknown_handler_inside_a_block_is_found() -> None:
    text = "- hosts: a\n  tasks:\n    - block:\n        - command: x\n          notify: gone\n"
    assert problems(text) == [
        'p.yaml:5:19: no handler is called "gone"\n    The play has no handlers: add one.'
    ]


@pytest.mark.parametrize("key", ["loop", "register", "failed_when"])
def test_what_a_block_cannot_take_is_refused(key: str) -> None:
    told = problems(f"- hosts: a\n  tasks:\n    - {key}: x\n      block: [command: x]\n")
    assert told[0].startswith(f"p.yaml:3:7: {key} of Ansible is not offered in a block")


def test_a_condition_of_a_block_is_checked_once_at_its_place() -> None:
    text = "- hosts: a\n  tasks:\n    - when: a ==\n      block: [command: x, command: y]\n"
    told = problems(text.replace("[command: x, command: y]", "[{command: x}, {command: y}]"))
    assert len(told) == 1 and told[0].startswith("p.yaml:3:13: ")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".yaml").write_text(text, encoding="utf-8")
    return folder / "p.yaml"


def importing(file: str, more: str = "") -> str:
    return f"- hosts: a\n  tasks:\n    - import_tasks: {file}\n{more}"


def test_imported_tasks_are_relative_to_the_importing_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        p=importing("tasks/one.yaml", "      when: a\n      tags: t\n"),
        tasks__one="- {name: One, command: x}\n- ansible.builtin.import_tasks: {file: two.yaml}\n",
        tasks__two="- {name: Two, command: x, when: b}\n",
    )
    loaded = load_playbook(path)
    one, two = loaded.plays[0].tasks
    assert (one.name, one.when, one.tags) == ("One", ("a",), ("t",))
    assert (two.name, two.when) == ("Two", ("a", "b"))
    assert two.origin.file == str(tmp_path / "tasks" / "two.yaml")
    assert "name: Two" in loaded.text


def test_the_same_file_may_be_imported_twice_with_other_variables(tmp_path: Path) -> None:
    twice = (
        importing("one.yaml", "      vars: {n: 1}\n")
        + "    - import_tasks: one.yaml\n      vars: {n: 2}\n"
    )
    path = write(tmp_path, p=twice, one="- {name: One, command: x}\n")
    assert [task.variables["n"] for task in load_playbook(path).plays[0].tasks] == [1, 2]


def test_a_circle_of_imports_is_told_with_the_chain(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        p=importing("one.yaml"),
        one="- import_tasks: two.yaml\n",
        two="- import_tasks: one.yaml\n",
    )
    (told,) = problems(path.read_text(encoding="utf-8"), path)
    assert told.startswith(f"{tmp_path / 'two.yaml'}:1:17: ")
    assert "in a circle: one.yaml → two.yaml → one.yaml" in told


def test_imports_that_multiply_end_early(tmp_path: Path) -> None:
    files = {f"f{n}": f"- import_tasks: f{n + 1}.yaml\n" * 10 for n in range(6)}
    path = write(tmp_path, p=importing("f0.yaml"), f6="- {name: x, command: x}\n", **files)
    assert any("more than 1000 imports" in text for text in problems(path.read_text(), path))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("gone.yaml", "import_tasks: gone.yaml: no such file"),
        ('"{{ os }}.yaml"', "import_tasks: the name is not known while loading"),
        ("[a, b]", "import_tasks: expected a name, found a list"),
        ("play.yaml", "block"),
        ("empty.yaml", "the file has no tasks"),
    ],
)
def test_an_import_that_brings_no_tasks(tmp_path: Path, file: str, message: str) -> None:
    path = write(tmp_path, p=importing(file), empty="", play="block: [1]\n")
    if message == "block":
        message = "tasks: expected a list of tasks, found a mapping"
    assert message in problems(path.read_text(encoding="utf-8"), path)[0]
