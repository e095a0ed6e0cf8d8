"""--tags and --skip-tags choose tasks as Ansible does, and never drop a safety check unasked."""

from pathlib import Path

import pytest

from runner.cli.options import RunOptions
from runner.errors import InputError
from runner.playbook.load import load_playbook_text
from runner.playbook.tags import select_tags

PLAYBOOK = load_playbook_text(
    """
- hosts: all
  preconditions:
    - {name: safe, assert: {that: "true"}, tags: check}
  tasks:
    - {name: plain, command: "true"}
    - {name: a, command: "true", tags: a}
    - {name: ab, command: "true", tags: [a, b], notify: handler}
    - {name: each, command: "true", tags: always}
    - {name: rare, command: "true", tags: [never, debug]}
  handlers:
    - {name: handler, command: "true", tags: other}
  verify:
    - {name: good, assert: {that: "true"}}
""",
    Path("p.yaml"),
)


def chosen(tags: str = "", skip: str = "") -> list[str]:
    play = select_tags(PLAYBOOK, [tags], [skip]).plays[0]
    return [task.name for task in play.tasks]


@pytest.mark.parametrize(
    ("tags", "skip", "names"),
    [
        ("", "", "plain a ab each"),
        ("all", "", "plain a ab each"),
        ("a", "", "a ab each"),
        ("b", "", "ab each"),
        ("a, b", "", "a ab each"),
        ("a", "b", "a each"),
        ("", "a", "plain each"),
        ("debug", "", "each rare"),
        ("never", "", "each rare"),
        ("tagged", "", "a ab each"),
        ("untagged", "", "plain each"),
        ("", "always", "plain a ab"),
        ("", "all", "each"),
        ("", "all,always", ""),
        ("", "tagged", "plain"),
        ("", "untagged", "a ab each"),
    ],
)
def test_rules(tags: str, skip: str, names: str) -> None:
    assert chosen(tags, skip) == names.split()


def test_checks_and_handlers_are_not_narrowed_by_tags() -> None:
    play = select_tags(PLAYBOOK, ["b"], []).plays[0]
    assert len(play.preconditions) == len(play.verify) == len(play.handlers) == 1


def test_a_check_is_left_out_only_when_it_is_skipped_by_name() -> None:
    assert not select_tags(PLAYBOOK, [], ["check"]).plays[0].preconditions


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_a_tag_that_nothing_has_lists_what_exists(option: str) -> None:
    given = (["debgu"], []) if option == "--tags" else ([], ["debgu"])
    with pytest.raises(InputError) as caught:
        select_tags(PLAYBOOK, *given)
    told = str(caught.value)
    assert told.startswith(f"{option} debgu: no task of p.yaml has this tag")
    assert "Did you mean debug?" in told and "a, always, b, check, debug, never, other" in told


def test_a_resumed_run_has_the_same_tags() -> None:
    options = RunOptions("p.yaml", ("lab",), "/", tags=("a",), skip_tags=("b",))
    assert RunOptions.from_arguments(options.as_arguments()).tags == ("a",)
    assert RunOptions.from_arguments(options.as_arguments()).skip_tags == ("b",)


def test_a_run_of_an_older_journal_has_no_tags() -> None:
    arguments = RunOptions("p.yaml", ("lab",), "/").as_arguments()
    del arguments["tags"], arguments["skip_tags"]
    assert RunOptions.from_arguments(arguments).tags == ()


def test_a_play_without_a_task_that_was_asked_for_is_left_out() -> None:
    text = """
- {hosts: a, tasks: [{name: one, command: x, tags: t}]}
- {hosts: b, preconditions: [{name: p, assert: {that: "true"}}], tasks: [{name: two, command: x}]}
"""
    playbook = load_playbook_text(text, Path("p.yaml"))
    assert [play.hosts for play in select_tags(playbook, ["t"], []).plays] == ["a"]
    assert [play.hosts for play in select_tags(playbook, [], ["t"]).plays] == ["a", "b"]
