"""Broken, huge and hostile inventories: one clear error each, soon, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.errors import InputError
from runner.inventory import blame, program
from runner.inventory.load import load_inventory, load_tree

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
DEEP = "all: {vars: {x: " + "{a: " * 200 + "1" + "}" * 200 + "}}"
CHAIN = "".join(f"[g{n}:children]\ng{n + 1}\n" for n in range(2000)) + "[g2000]\nh\n"
TWO_OF_EACH = "".join(
    f"[{side}{n}:children]\na{n + 1}\nb{n + 1}\n" for n in range(30) for side in "ab"
)
DIAMONDS = f"{TWO_OF_EACH}[a30]\nh\n[b30]\nh\n"


def problem(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load_inventory([str(path)], folder)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.yaml", BOMB, "h.yaml:6:4: aliases expand to more than 1000000 values"),
        ("h.yaml", DEEP, "nested more than 100 levels deep"),
        ("h.json", "[" * 5000, "nested more than 100 levels deep"),
        ("h.json", '{"a":' * 5000 + "1" + "}" * 5000, "nested more than 100 levels deep"),
        ("h.json", '{"a": "\\/", "b":' + "[" * 400 + "]" * 400 + "}", "h.json:1:"),
        ("h.toml", "x = " + "[" * 200 + "]" * 200, "nested more than 100 levels deep"),
        ("h.yaml", b"all:\n  hosts: {\x00: }\n", "a control character stands in the text"),
        ("h.yaml", "all: {hosts: {Zürich: }}".encode("latin-1"), "h.yaml:1:16: byte 0xfc is not"),
        ("h.yaml", "all: {hosts: {a: }}".encode("utf-16"), "is not UTF-8 text"),
        ("h.yaml", b"\x7fELF\x02\x01\x01\x00\xff\xfe" * 50, "is not UTF-8 text"),
        ("h.yaml", "all:\n\thosts:\n", "h.yaml:2:1: a tab indents this line"),
        ("h.yaml", "all: {hosts: {a: {x: 1, x: 2}}}", 'key "x" is given twice'),
        ("h.yaml", "all: {hosts: {a: {x: !!int abc}}}", "'abc' is no whole number"),
        ("h.yaml", "all: {hosts: {a: {x: 2024-13-40}}}", "'2024-13-40' is no date"),
        ("h.yaml", "all: {hosts: {a: {x: !!binary aGk=}}}", "tag !!binary is not known here"),
        ("h.yaml", "all: {hosts: {a: {x: !!set {b, c}}}}", "tag !!set is not known here\n    Wri"),
        ("h.yaml", "all: {hosts: {a: {x: !ruby/object {}}}}", "tag !ruby/object is not known"),
        ("h.yaml", "all: {hosts: {a: {x: !!python/name:os.system ''}}}", "is not known here"),
        ("h.yaml", "all: &x {children: {all: *x}}", "an alias (*name) stands inside its own"),
        ("h.yaml", "g: {children: {all: }}", "all holds every group and can be no child"),
        ("h.yaml", "all: {hosts: {on: }}", "key `on` is a boolean in YAML"),
        ("h.yaml", "all: {hosts: {'': }}", "a host has no name"),
        ("h.yaml", "all: {hosts: {'a:': }}", "a: ends with a colon: a port is missing"),
        ("h.yaml", "plugin: amazon.aws.aws_ec2\n", "aws_ec2 is not offered\n    Save what it fin"),
        ("h.yaml", "plugin: constructed\n", "plugin constructed is not offered\n    Write its"),
        ("h.ini", b"[g]\nh\x00\xff\n", "h.ini:2:3: byte 0xff is not UTF-8 text"),
        ("h.ini", CHAIN, "groups are nested more than 100 levels deep"),
        ("h.ini", "[a:children]\nb\n[b:children]\na\n", "groups contain each other: a -> b -> a"),
        ("h.ini", "[a:children]\na\n", "groups contain each other: a -> a"),
        ("h.ini", "[gpu]\na\n[gpus:vars]\nx=1\n", "h.ini:3:1: [gpus:vars]: there is no group gpus"),
        ("h.ini", "[x:children]\ngpu\n[gpus]\na\n", "there is no group gpu\n    Declare it with"),
        ("h.ini", "[ g ]\na\n", "[ g ] is no section and no range"),
        ("h.ini", "---\n[g]\na\n", "--- begins a YAML file"),
        ("h.ini", "[g]\na\n[g:vars]\nansible_group_priority=x\n", "must be a number, found 'x'"),
        ("h.ini", "a\na:22\n", "h.ini:2:1: host a is given port 22 here, and none at h.ini:1:1"),
        ("h.ini", "[db]\ndb x=1\nother\n", "host db has the name of a group"),
        ("h.ini", "[g]\na[0:999999999]\n", "more than 100000 hosts"),
        ("h.ini", "[g]\na[0:999][0:999]\n", "more than 100000 hosts"),
        ("h.ini", "[g]\n" + "".join(f"a{n}-[0:9999]\n" for n in range(12)), "has more than 100000"),
        ("h.ini", "[g]\n" + "x" * 5_000_000 + ' "', "h.ini:2:1: a quote is not closed: xxxx"),
        ("h.ini", "[g]\nx" + "[0:1]" * 500, "a name has at most 10 ranges"),
        ("h.toml", "[g.hosts\n", "h.toml:1:9: is not TOML: Expected ']'"),
        ("h.toml", "", "the inventory is empty"),
        (
            "h.toml",
            "[g]\nhost = 1\n",
            "h.toml:2:1: group g has no key host\n    Did you mean",
        ),
        ("h.toml", "[g]\nhosts = ['a']\n", "h.toml:2:1: group g: hosts must be a table, found a"),
        ("h.toml", "[g.hosts]\na = 1\n", "h.toml:2:1: host a: expected a table of variables"),
        ("h.toml", "g = 1\n", "h.toml:1:1: group g: expected hosts, vars or children"),
        ("h.toml", "x = " + "[" * 3000, "nested more than 100 levels deep"),
    ],
)
def test_one_clear_error(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    said = problem(tmp_path, name, content)
    assert message in said
    assert len(said) < 1000


@pytest.mark.parametrize("name", ["h.yaml", "h.ini", "h.toml", "h.json"])
def test_a_file_of_50_megabytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.truncate(50_000_000)
    with pytest.raises(InputError, match="is larger than 10 MB"):
        load_inventory([str(path)], tmp_path)


def test_all_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yaml").write_text("- a list\n")
    (tmp_path / "b.ini").write_text("[g:nonsense]\n")
    said = problem(tmp_path, "a.yaml", "g: {host: {a: }, hosts: [b]}\n")
    with pytest.raises(InputError) as caught:
        load_inventory([str(tmp_path / "a.yaml"), str(tmp_path / "b.ini")], tmp_path)
    assert len(said.splitlines()) == 5
    assert len(caught.value.problems) == 4


def test_groups_in_very_many_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "MAX_LINES", 1000)
    (tmp_path / "h.ini").write_text(DIAMONDS)
    tree = load_tree([str(tmp_path / "h.ini")], tmp_path)
    assert tree.members["a0"] == ("h",)
    with pytest.raises(InputError, match="the tree has more than 1000 lines"):
        blame.as_graph(tree)


def script(folder: Path, text: str) -> Path:
    path = folder / "list"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exec sleep 600", "list --list did not end within 0 s\n    Try it by hand: list --list"),
        ("sleep 600 & wait", "did not end within"),
        ("trap '' TERM INT HUP; while :; do sleep 1; done", "did not end within"),
        ("exec >&- 2>&-; exec sleep 600", "did not end within"),
        ("yes", "printed more than 0 MB"),
        ("yes >&2", "printed more than 0 MB"),
        ("echo garbage", "list --list printed no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("echo '{\"a\": '", "printed no JSON"),
        ("printf '\\377'", "printed no JSON: byte 0xff is not UTF-8 text"),
        ("head -c 300000 /dev/zero | tr '\\0' '['", "nested more than 100 levels"),
        (f"echo '{{\"g\": {'[' * 300}{']' * 300}}}'", "nested more than 100 levels deep"),
        ("echo no token >&2", "list --list printed nothing: no token"),
        ("true", "list --list printed nothing\n"),
        ("echo one >&2; echo denied >&2; exit 7", "ended with exit code 7: denied"),
        ("kill -9 $$", "was killed by signal 9"),
        ("echo null", "printed nothing, an object is expected"),
        ('echo \'{"g": {"hosts": "abc"}}\'', "group g: hosts must be a list of names, found"),
        ('echo \'{"g": {"hosts": [1]}}\'', "group g: hosts must be a list of names, found in it"),
        ('echo \'{"g": {"vars": []}}\'', "group g: vars must be an object, found a list"),
        ("echo '{\"g\": 1}'", "group g: expected an object or a list, found the number 1"),
        ('echo \'{"g": ["a"], "_meta": {"hostvars": []}}\'', "_meta.hostvars: expected"),
        ('echo \'{"g": ["a"], "_meta": {"hostvars": {"a": 1}}}\'', "hostvars of a: "),
        ('echo \'{"g": {"children": ["g"]}}\'', "groups contain each other: g -> g"),
        ('[ $1 = --list ] && echo \'{"g": ["a", "b"]}\' || exit 3', "list --host a ended"),
    ],
)
def test_programs(tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "did not end" in message:
        monkeypatch.setattr(program, "SECONDS", 0.3)
    monkeypatch.setattr(program, "MAX_BYTES", 500_000)
    path = script(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_inventory([str(path)], tmp_path)
    said = str(caught.value).replace(f"{tmp_path}/", "")
    assert message in said
    assert len(said.splitlines()) <= 2


def test_a_child_that_keeps_the_output_open_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "GRACE", 0.1)
    text = 'sleep 600 & echo $! >child; echo \'{"g": ["a"], "_meta": {"hostvars": {}}}\''
    found = load_inventory([str(script(tmp_path, text))], tmp_path)
    assert list(found.hosts) == ["a"]
    assert_gone(int((tmp_path / "child").read_text()))


def test_what_a_stopped_program_started_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "SECONDS", 0.3)
    with pytest.raises(InputError, match="did not end within"):
        load_inventory([str(script(tmp_path, "sleep 600 & echo $! >child; wait"))], tmp_path)
    assert_gone(int((tmp_path / "child").read_text()))


def assert_gone(process: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # nobody waits for it in a container without an init
            return
        time.sleep(0.01)
    raise AssertionError(f"process {process} still runs")


def test_an_executable_text_file_is_no_program(tmp_path: Path) -> None:
    for name, text in (("hosts", "[g]\na\n"), ("more", "g: {hosts: {b: }}\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o777)
    found = load_inventory([str(tmp_path / "hosts"), str(tmp_path / "more")], tmp_path)
    assert found.groups["g"] == ("a", "b")


def test_a_whole_command_says_it_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text(BOMB)
    done = subprocess.run(
        [sys.executable, "-m", "runner.cli.main", "inventory", "-i", str(tmp_path / "h.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "h.yaml:6:4: error: aliases expand to more than 1000000 values" in done.stderr
    assert "Traceback" not in done.stderr
