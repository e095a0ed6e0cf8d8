"""`lineinfile` and `blockinfile` make of a file what Ansible's modules make of it.

The answers in `ansible/` were recorded by running the modules of ansible-core 2.19. Where ours
differs on purpose is said, with the reason, in the cases of `cases/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runner.modules.base import Refused
from runner.modules.blockinfile import BlockinfileArguments
from runner.modules.files.block_edit import with_block
from runner.modules.files.line_edit import with_line, without
from runner.modules.lineinfile import LineinfileArguments

RECORDED = Path(__file__).parent / "ansible"


def line_edit(content: bytes, arguments: dict[str, Any]) -> bytes:
    args = LineinfileArguments(path="/f", **arguments)
    return (without if args.state == "absent" else with_line)(content, args.wanted())


def block_edit(content: bytes, arguments: dict[str, Any]) -> bytes:
    return with_block(content, BlockinfileArguments(path="/f", **arguments).wanted())


EDITS = {"lineinfile": line_edit, "blockinfile": block_edit}


@pytest.mark.parametrize("module", EDITS)
def test_the_same_as_ansible(module: str) -> None:
    recorded = yaml.safe_load((RECORDED / f"{module}.yaml").read_text())
    assert len(recorded) > 40
    for case in recorded:
        after = EDITS[module](case["before"].encode(), case["arguments"])
        assert after.decode() == case["after"], case


LINES = st.lists(
    st.tuples(st.sampled_from(["a=1", "b", "", "a=2", " a", "#"]), st.sampled_from(["\n", "\r\n"]))
).map(lambda pairs: "".join(a + b for a, b in pairs).encode())
PLACES = st.sampled_from(
    [{}, {"insertafter": "^b"}, {"insertbefore": "^b"}, {"insertafter": "BOF"}]
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LINES, PLACES, st.booleans())
def test_a_line_is_put_once_and_taking_it_away_gives_the_file_back(
    content: bytes, place: dict[str, str], first: bool
) -> None:
    once = line_edit(content, {"line": "new", "firstmatch": first, **place})
    assert once.split(b"\n").count(b"new") == 1
    assert line_edit(once, {"line": "new", "firstmatch": first, **place}) == once
    assert line_edit(once, {"line": "new", "state": "absent"}) == content


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LINES, PLACES, st.sampled_from(["x", "x\n\ny", "\n"]), st.sampled_from(["z", "x"]))
def test_a_block_is_put_once_and_taking_it_away_gives_the_file_back(
    content: bytes, place: dict[str, str], text: str, other: str
) -> None:
    once = block_edit(content, {"block": text, **place})
    assert block_edit(once, {"block": text}) == once
    changed = block_edit(once, {"block": other})
    assert block_edit(changed, {"block": text}) == once
    assert block_edit(changed, {"state": "absent"}) == content


WRONG: list[tuple[type[Any], dict[str, Any], str]] = [
    (LineinfileArguments, {}, "line is needed with state: present"),
    (LineinfileArguments, {"state": "absent"}, "give line, regexp or search_string"),
    (LineinfileArguments, {"line": "a\n"}, "it holds a line break"),
    (LineinfileArguments, {"line": "a", "regexp": "("}, "not a regular expression of Python"),
    (LineinfileArguments, {"line": "a", "insertafter": "["}, "not a regular expression of Python"),
    (LineinfileArguments, {"line": "a", "regexp": ""}, "at least 1 character"),
    (LineinfileArguments, {"line": "a", "regexp": "a", "search_string": "a"}, "not both"),
    (LineinfileArguments, {"line": "a", "insertafter": "a", "insertbefore": "a"}, "not both"),
    (LineinfileArguments, {"line": "a", "backrefs": True}, "backrefs needs regexp"),
    (BlockinfileArguments, {"marker": "# mine"}, "must be one line with {mark} in it"),
    (BlockinfileArguments, {"marker_end": "BEGIN"}, "must be different"),
    (BlockinfileArguments, {"marker_end": "E\n"}, "each of one line"),
    (BlockinfileArguments, {"block": "# END ANSIBLE MANAGED BLOCK"}, "one of its own markers"),
    (BlockinfileArguments, {"insertafter": "a", "insertbefore": "a"}, "not both"),
]


@pytest.mark.parametrize(("arguments", "values", "message"), WRONG)
def test_wrong_arguments_say_what_is_wrong(
    arguments: type[Any], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        arguments(path="/f", **values)
    assert message in str(raised.value)


def test_bytes_that_are_no_text_are_kept() -> None:
    assert line_edit(b"\xff\n", {"line": "a"}) == b"\xff\na\n"
    with pytest.raises(Refused, match="line 2 is the marker"):
        block_edit(b"\xff\nB\n", {"marker": "{mark}", "marker_begin": "B", "block": "x"})
