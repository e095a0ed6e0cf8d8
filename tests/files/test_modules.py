"""What the cases of `cases/` cannot say: predictions across tasks, drift, refusals, large files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.errors import Origin
from runner.hosts.script import Command, Result
from runner.modules.base import Change, Context, Refused, Unknown
from runner.modules.copy import CopyArguments
from runner.modules.file import FileArguments
from runner.modules.files import shell
from runner.modules.files.patch import dotted
from runner.modules.files.state import LARGEST_CONTENT, FileState, parse, probe
from runner.modules.template import Template, TemplateArguments
from runner.modules.toml import TomlArguments
from runner.playbook.templates import TemplateProblem, render_text
from tests.files.local import Local, build, overlaid, run, snapshot


@pytest.fixture
def host(tmp_path: Path) -> Local:
    root = tmp_path / "host"
    root.mkdir()
    return Local(root)


def only(host: Local, module: str, arguments: dict[str, Any]) -> Change:
    """The one change a task plans against what is there."""
    (change,) = host.plan(module, arguments, host.observe(module, arguments)).changes
    return change


def failed(change: Change) -> str:
    """What the change's command says when it fails."""
    (command,) = change.do
    assert isinstance(command, Command)
    result = run(command.shell, command.stdin)
    assert result.rc != 0
    return result.error_text


# ---- one plan for many tasks -----------------------------------------------------------------

TASKS: list[tuple[str, dict[str, Any]]] = [
    ("file", {"path": "ROOT/etc/gpu/conf.d", "state": "directory"}),
    ("copy", {"dest": "ROOT/etc/gpu/conf.d/a.toml", "content": "a = 1\n", "mode": "0600"}),
    ("toml", {"path": "ROOT/etc/gpu/conf.d/a.toml", "set": {"b": 2}}),
    ("file", {"path": "ROOT/etc/gpu/conf.d/a.toml", "mode": "0640"}),
    ("file", {"path": "ROOT/etc/gpu/link", "state": "link", "src": "conf.d"}),
    ("copy", {"dest": "ROOT/etc/gpu/once", "content": "x"}),
    ("file", {"path": "ROOT/etc/gpu/once", "state": "absent"}),
    ("copy", {"dest": "ROOT/etc/gpu/once", "content": "y"}),
]


def planned(host: Local, view: dict[str, Any]) -> list[Change]:
    """The changes of all tasks, each seeing what the ones before it will have made."""
    changes: list[Change] = []
    for module, arguments in TASKS:
        here = {
            k: v.replace("ROOT", str(host.root)) if isinstance(v, str) else v
            for k, v in arguments.items()
        }
        view = {**host.observe(module, here), **view}
        outcome = host.plan(module, here, view)
        changes += outcome.changes
        view = overlaid(view, outcome)
    return changes


def test_tasks_are_planned_on_what_earlier_ones_will_have_made(host: Local) -> None:
    changes = planned(host, {})
    assert len(changes) == len(TASKS)
    for change in changes:
        host.apply(change)
    found = snapshot(host.root)
    assert found["etc/gpu/conf.d/a.toml"] == ("file 0640", "a = 1\nb = 2\n")
    assert found["etc/gpu/link"] == ("link", "conf.d")
    assert found["etc/gpu/once"] == ("file 0644", "y")
    for change in reversed(changes):
        host.do(change.undo)
    assert snapshot(host.root) == {}


def test_a_file_in_a_folder_that_is_removed_first_is_refused(host: Local) -> None:
    build(host.root, {"old/deep/file": "x"})
    remove = {"path": f"{host.root}/old", "state": "absent"}
    copy = {"dest": f"{host.root}/old/deep/file", "content": "y"}
    view = {**host.observe("file", remove), **host.observe("copy", copy)}
    view = overlaid(view, host.plan("file", remove, view))
    with pytest.raises(Refused, match="does not exist on the host"):
        host.plan("copy", copy, view)
    assert not host.plan("file", {**copy_path(copy), "state": "absent"}, view).changes


def copy_path(copy: dict[str, Any]) -> dict[str, Any]:
    return {"path": copy["dest"]}


# ---- drift, failure, atomicity ---------------------------------------------------------------

DRIFTS = {
    "content": "printf changed > {path}",
    "mode": "chmod 0600 {path}",
    "gone": "rm {path}",
    "a link now": "rm {path}; ln -s elsewhere {path}",
    "a folder now": "rm {path}; mkdir {path}",
}


@pytest.mark.parametrize("name", DRIFTS)
def test_the_guard_notices_drift(host: Local, name: str) -> None:
    build(host.root, {"a b": "one\n"})
    change = only(host, "copy", {"dest": f"{host.root}/a b", "content": "two\n"})
    assert run(change.guard).rc == 0
    run(DRIFTS[name].format(path=f"'{host.root}/a b'"))
    assert run(change.guard).rc != 0


def test_the_guard_of_a_new_file_notices_that_it_came_into_being(host: Local) -> None:
    change = only(host, "copy", {"dest": f"{host.root}/a", "content": "two\n"})
    assert run(change.guard).rc == 0
    (host.root / "a").symlink_to("dangling")
    assert run(change.guard).rc != 0


def test_a_growing_log_does_not_stop_a_change_of_its_mode(host: Local) -> None:
    build(host.root, {"log": "one\n"})
    change = only(host, "file", {"path": f"{host.root}/log", "mode": "0600"})
    run(f"echo more >> {host.root}/log")
    host.apply(change)


def test_a_refused_validation_leaves_the_old_file_and_no_trace(host: Local) -> None:
    build(host.root, {"sudoers": "old\n"})
    before = snapshot(host.root)
    arguments = {
        "dest": f"{host.root}/sudoers",
        "content": "bad\n",
        "validate": "sh -c 'echo line 1 is wrong; exit 3' %s",
    }
    message = failed(only(host, "copy", arguments))
    assert "refused by its validation" in message and "line 1 is wrong" in message
    assert snapshot(host.root) == before


def test_content_cut_short_on_its_way_never_becomes_the_file(host: Local) -> None:
    build(host.root, {"a": "old\n"})
    (command,) = only(host, "copy", {"dest": f"{host.root}/a", "content": "new\n"}).do
    assert isinstance(command, Command)
    result = run(command.shell, command.stdin[:2])
    assert result.rc != 0 and "did not arrive whole" in result.error_text
    assert snapshot(host.root) == {"a": ("file 0644", "old\n")}


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("copy", {"dest": "ROOT/a", "content": "new\n"}),
        ("copy", {"dest": "ROOT/new", "content": "new\n"}),
        ("file", {"path": "ROOT/a", "mode": "0600"}),
        ("file", {"path": "ROOT/a", "state": "absent"}),
        ("file", {"path": "ROOT/x/y", "state": "directory"}),
        ("file", {"path": "ROOT/link", "state": "link", "src": "new"}),
    ],
)
def test_undoing_what_was_not_done_touches_nothing(
    host: Local, module: str, arguments: dict[str, str]
) -> None:
    build(host.root, {"a": "old\n", "link": {"link": "old"}})
    before = snapshot(host.root)
    inodes = {path.name: path.lstat().st_ino for path in host.root.iterdir()}
    here = {name: value.replace("ROOT", str(host.root)) for name, value in arguments.items()}
    host.do(only(host, module, here).undo)
    assert snapshot(host.root) == before
    assert {path.name: path.lstat().st_ino for path in host.root.iterdir()} == inodes


def test_what_someone_else_changed_since_is_not_undone(host: Local) -> None:
    build(host.root, {"a": "old\n"})
    change = only(host, "copy", {"dest": f"{host.root}/a", "content": "new\n"})
    host.apply(change)
    (host.root / "a").write_text("theirs\n")
    (command,) = change.undo
    result = run(command.shell, command.stdin)
    assert result.rc != 0 and "changed by someone else since" in result.error_text
    assert (host.root / "a").read_text() == "theirs\n"


def test_an_owner_that_does_not_exist_changes_nothing(host: Local) -> None:
    build(host.root, {"a": "old\n"})
    arguments = {"dest": f"{host.root}/a", "content": "new\n", "owner": "no-such-user"}
    assert "no-such-user" in failed(only(host, "copy", arguments))
    assert snapshot(host.root) == {"a": ("file 0644", "old\n")}


def test_content_is_never_in_the_command(host: Local) -> None:
    change = only(host, "copy", {"dest": f"{host.root}/a", "content": "s3cret-token\n"})
    assert all("s3cret" not in c.shell for c in change.do if isinstance(c, Command))
    assert "s3cret" not in change.guard and "s3cret" not in change.summary


# ---- diffs -----------------------------------------------------------------------------------


def test_content_and_attributes_are_one_diff(host: Local) -> None:
    build(host.root, {"a": "one\n"})
    change = only(host, "copy", {"dest": f"{host.root}/a", "content": "two\n", "mode": "0600"})
    diff = change.diff
    assert diff is not None and (diff.before, diff.after) == ("one\n", "two\n")
    assert diff.attributes == (("mode", "0644", "0600"),)
    assert change.before["mode"] == "0644" and change.after["mode"] == "0600"


def test_binary_content_is_shown_as_size_and_hash(host: Local) -> None:
    (host.root / "a").write_bytes(b"\x00\x01")
    diff = only(host, "copy", {"dest": f"{host.root}/a", "content": "text\n"}).diff
    assert diff is not None and diff.before is not None and diff.after is not None
    assert diff.before.startswith("(2 bytes, sha256 ") and diff.after.startswith("(5 bytes")


def test_a_large_file_is_compared_by_hash_and_has_no_undo_without_backup(host: Local) -> None:
    large = "x" * (LARGEST_CONTENT + 1)
    build(host.root, {"a": large})
    path = f"{host.root}/a"
    assert host.observe("copy", {"dest": path, "content": ""})[f"file:{path}"].content is None
    same = {"dest": path, "content": large}
    assert not host.plan("copy", same, host.observe("copy", same)).changes
    change = only(host, "copy", {"dest": path, "content": "small\n"})
    assert change.undo == () and change.diff is not None
    assert f"({len(large)} bytes" in str(change.diff.before)

    change = only(host, "copy", {"dest": path, "content": "small\n", "backup": True})
    host.apply(change)
    host.do(change.undo)
    assert (host.root / "a").read_text() == large


# ---- looking ---------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no line end", b"a\0b\xff\n", b"end\nstat 1\n" * 99])
def test_every_byte_is_read_back(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "-a\\file with 'quotes'"
    path.write_bytes(content)
    look = probe(str(path))
    state = look.parse(run(look.shell))
    assert state.content == content and state.size == len(content)


def test_special_files_are_unknown(tmp_path: Path) -> None:
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)
    look = probe(str(tmp_path / "pipe"))
    with pytest.raises(Unknown, match="is a FIFO; only files, folders and links are managed"):
        look.parse(run(look.shell))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (Result(0, b"none stat: cannot stat '/a': Permission denied\n"), "Permission denied"),
        (Result(0, b"none stat: cannot stat '/a': Input/output error\n"), "Input/output error"),
        (Result(3, b"stat 81a4:0:0:1:root:root\ncontent\n", b"sh: Permission denied"), "denied"),
        (Result(0, b"stat 81a4:0:0:4:root:root\ncontent\nb25l"), "broke off"),
        (Result(0, b"stat 81a4:0:0:4:root:root\ncontent\nb25l?\nend\n"), "damaged"),
        (Result(0, b"stat nonsense\n"), "nonsense"),
        (Result(0, b""), "printed nothing"),
        (Result(0, b"stat 81a4", truncated=True), "cut short"),
    ],
)
def test_what_cannot_be_read_is_unknown(result: Result, message: str) -> None:
    with pytest.raises(Unknown, match=message):
        parse("/a", result)


def test_users_without_a_name_are_compared_by_number() -> None:
    text = b"stat 81a4:4711:0:1:UNKNOWN:root\ncontent\neA==\nend\nparent\nlooked\n"
    state = parse("/a", Result(0, text))
    local = Local(Path("/"))
    assert not local.plan("file", {"path": "/a", "owner": "4711"}, {"file:/a": state}).changes
    (change,) = local.plan("file", {"path": "/a", "owner": "4712"}, {"file:/a": state}).changes
    assert change.summary == "/a: owner UNKNOWN -> 4712"
    assert "chown -- 4712:0" in str(change.do)


def test_a_link_that_was_planned_is_not_followed_blindly() -> None:
    link = FileState("/a", "link", target="b")
    with pytest.raises(Refused, match="leads nowhere"):
        Local(Path("/")).plan("copy", {"dest": "/a", "content": "x"}, {"file:/a": link})


# ---- arguments -------------------------------------------------------------------------------

WRONG: list[tuple[type[Any], dict[str, Any], str]] = [
    (CopyArguments, {"dest": "relative", "content": ""}, "must be an absolute path"),
    (CopyArguments, {"dest": "/"}, "/ itself is not managed"),
    (CopyArguments, {"dest": "/a\nb", "content": ""}, "line break"),
    (CopyArguments, {"dest": "/a"}, "either src .* or content"),
    (CopyArguments, {"dest": "/a", "src": "b", "content": "c"}, "either src .* or content"),
    (CopyArguments, {"dest": "/a/", "content": "c"}, "name the file in it"),
    (CopyArguments, {"dest": "/a", "content": "", "mode": 420}, 'quote it, mode: "0644"'),
    (CopyArguments, {"dest": "/a", "content": "", "mode": "u=rw"}, "not an octal mode"),
    (CopyArguments, {"dest": "/a", "content": "", "owner": "a:b"}, "not the name or number"),
    (CopyArguments, {"dest": "/a", "content": "", "owner": "-R"}, "not the name or number"),
    (CopyArguments, {"dest": "/a", "content": "", "validate": "true"}, "must hold %s"),
    (CopyArguments, {"dest": "/a", "content": "", "backup": "yes"}, "valid boolean"),
    (CopyArguments, {"dest": "/a", "content": "", "colour": "red"}, "Extra inputs"),
    (FileArguments, {"path": "/a", "state": "link"}, "src is what a link points at"),
    (FileArguments, {"path": "/a", "src": "b"}, "src is what a link points at"),
    (FileArguments, {"path": "/a", "state": "absent", "mode": "0644"}, "has no mode"),
    (TomlArguments, {"path": "/a"}, "at least one of set, remove, append_unique"),
    (TomlArguments, {"path": "/a", "set": {"a": None}}, "to drop a key use `remove`"),
    (TomlArguments, {"path": "/a", "set": {"a": {1: 2}}}, "must be a text; quote it"),
    (TomlArguments, {"path": "/a", "set": {"a": 1, "a.b": 2}}, "below another key"),
    (TomlArguments, {"path": "/a", "set": {"a b": 1}}, "is not a TOML key"),
    (TomlArguments, {"path": "/a", "remove": ["a."]}, "is not a TOML key"),
    (TomlArguments, {"path": "/a", "set": {"a = 1\nb": 1}}, "is not a TOML key"),
]


@pytest.mark.parametrize(("arguments", "values", "message"), WRONG)
def test_wrong_arguments_say_what_is_wrong(
    arguments: type[Any], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        arguments(**values)


def test_paths_are_made_plain() -> None:
    assert CopyArguments(dest="/etc//x/./a", content="").path == "/etc/x/a"
    assert CopyArguments(dest="/etc/x/", src="sub/a.conf").path == "/etc/x/a.conf"


def test_dotted_keys() -> None:
    assert dotted('plugins."io.containerd.grpc.v1.cri".x') == (
        "plugins",
        "io.containerd.grpc.v1.cri",
        "x",
    )


def test_folders_of_the_root_are_never_removed_with_all_in_them() -> None:
    state = {"file:/etc": FileState("/etc", "directory", 0o755, "root", "root", 0, 0)}
    with pytest.raises(Refused, match="folder of the root"):
        Local(Path("/")).plan("file", {"path": "/etc", "state": "absent"}, state)


def test_a_template_error_names_the_templates_line() -> None:
    def render(text: str, name: str) -> str:
        return render_text(text, {}, Origin("play.yaml", 3, 5), name)

    def read(_: str) -> bytes:
        return b"one\n{{ nowhere }}\n"

    context = Context("node", read=read, template=render)
    args = TemplateArguments(src="a.j2", dest="/a")
    observed = {"file:/a": FileState("/a", "absent", owner="root", group="root", uid=0, gid=0)}
    with pytest.raises(TemplateProblem) as error:
        Template().plan(args, observed, context)
    assert "a.j2:2" in str(error.value.problem)


def test_a_template_that_is_no_text_is_refused() -> None:
    context = Context("node", read=lambda _: b"\xff", template=lambda text, _: text)
    with pytest.raises(Refused, match=r"a\.j2 is not UTF-8 text \(byte 0\)"):
        Template().plan(TemplateArguments(src="a.j2", dest="/a"), {}, context)


def test_undo_of_a_link_is_exact(host: Local) -> None:
    build(host.root, {"link": {"link": "old target"}})
    change = only(host, "file", {"path": f"{host.root}/link", "state": "link", "src": "new"})
    host.apply(change)
    host.do(change.undo)
    assert snapshot(host.root) == {"link": ("link", "old target")}
    assert shell.guard(FileState("/l", "link", target="a'b")).endswith("""= 'a'"'"'b' ]""")
