"""`stat` and `wait_for`: their sh texts, run by a real sh."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.hosts.script import Result
from runner.modules.base import NOT_YET, Context, HostWait
from runner.modules.registry import load_module
from runner.modules.wait_for import WaitForArguments, script


def stat(path: Path, **arguments: Any) -> dict[str, Any]:
    module = load_module("stat")
    args = module.arguments.model_validate({"path": str(path), **arguments})
    (probe,) = module.probes(args, Context("gpu1"))
    done = subprocess.run(["sh", "-c", probe.shell], capture_output=True, check=False)
    state = probe.parse(Result(done.returncode, done.stdout, done.stderr))
    found: dict[str, Any] = module.plan(args, {probe.key: state}, Context("gpu1")).result["stat"]
    return found


def test_stat_tells_of_a_file_what_python_does(tmp_path: Path) -> None:
    path = tmp_path / "a 'b"
    path.write_bytes(b"content\n")
    path.chmod(0o4750)
    found, real = stat(path, checksum_algorithm="sha256"), path.stat()
    assert found["checksum"] == hashlib.sha256(b"content\n").hexdigest()
    assert (found["isreg"], found["isdir"], found["islnk"]) == (True, False, False)
    assert (found["mode"], found["isuid"], found["xgrp"], found["roth"]) == (
        "4750",
        True,
        True,
        False,
    )
    assert (found["size"], found["uid"], found["gid"]) == (8, real.st_uid, real.st_gid)
    assert (found["inode"], found["nlink"], found["dev"]) == (real.st_ino, 1, real.st_dev)
    assert found["mtime"] == int(real.st_mtime)
    assert found["executable"]


def test_stat_tells_of_a_link_or_of_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    link = stat(tmp_path / "link")
    assert (link["islnk"], link["isdir"]) == (True, False)
    assert (link["lnk_target"], link["lnk_source"]) == ("folder", str(tmp_path / "folder"))
    followed = stat(tmp_path / "link", follow=True)
    assert (followed["islnk"], followed["isdir"]) == (False, True)
    (tmp_path / "dangling").symlink_to("nowhere")
    assert stat(tmp_path / "dangling")["exists"]
    assert stat(tmp_path / "dangling", follow=True) == {"exists": False}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_stat_reads_only_regular_files(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "x")
    found = stat(tmp_path / "x")
    assert "checksum" not in found
    assert found["isfifo"] is (make is os.mkfifo)


def test_stat_without_checksum(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    assert "checksum" not in stat(tmp_path / "x", get_checksum=False)


# ---- wait_for --------------------------------------------------------------------------------


def wait(**arguments: Any) -> int:
    """The exit status of one short look."""
    text = script(WaitForArguments(sleep=0.1, connect_timeout=2, **arguments), slice_seconds=0)
    return subprocess.run(["sh", "-c", text], capture_output=True, check=False).returncode


def test_a_path_is_waited_for_and_its_absence(tmp_path: Path) -> None:
    path = tmp_path / "a 'b"
    assert wait(path=str(path)) == NOT_YET
    assert wait(path=str(path), state="absent") == 0
    path.write_text("booting\nready: 1\n")
    assert wait(path=str(path), state="present") == 0
    assert wait(path=str(path), state="absent") == NOT_YET


def test_a_line_is_waited_for_and_its_absence(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert wait(path=str(path), search_regex="x") == NOT_YET
    assert wait(path=str(path), search_regex="x", state="absent") == 0
    path.write_text("booting\nready: 1\n")
    assert wait(path=str(path), search_regex=r"^ready: \d$") == 0
    assert wait(path=str(path), search_regex="^ready$") == NOT_YET
    assert wait(path=str(path), search_regex="^ready$", state="absent") == 0


def test_an_expression_that_is_none_is_an_error_not_a_wait(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x\n")
    assert wait(path=str(tmp_path / "log"), search_regex="(") == 70
    assert wait(path=str(tmp_path / "log"), search_regex="(", state="absent") == 70


def test_a_port_is_waited_for_and_its_absence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert wait(port=port) == 0
        assert wait(port=port, state="stopped") == NOT_YET
    assert wait(port=port) == NOT_YET
    assert wait(port=port, state="stopped") == 0


def test_the_wait_says_what_for() -> None:
    def text(**arguments: Any) -> str:
        module = load_module("wait_for")
        args = module.arguments.model_validate(arguments)
        (found,) = module.plan(args, {}, Context("gpu1")).waits
        assert isinstance(found, HostWait)
        return str(found)

    assert text(port=22) == "waits until port 22 of 127.0.0.1 answers (at most 300 s)"
    assert text(path="/run/x", state="absent", timeout=5, delay=2) == (
        "after 2 s, waits until /run/x is gone (at most 5 s)"
    )
    assert text(path="/run/x", search_regex="^a") == (
        "waits until /run/x says '^a' (at most 300 s)"
    )


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("wait_for", {}, "give either port or path"),
        ("wait_for", {"port": 1, "path": "/a"}, "give either port or path"),
        ("wait_for", {"port": 0}, "greater than or equal to 1"),
        ("wait_for", {"port": 1, "state": "drained"}, "'started', 'present'"),
        ("wait_for", {"port": 1, "host": "a b"}, "should match pattern"),
        ("wait_for", {"path": "/a", "search_regex": "a\nb"}, "a line break"),
        ("pause", {}, "there is no prompt"),
        ("stat", {"path": "etc"}, "must be an absolute path"),
        ("stat", {"path": "/a", "checksum_algorithm": "crc"}, "'md5', 'sha1'"),
    ],
)
def test_mistakes_are_named(module: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        load_module(module).arguments.model_validate(arguments)
    assert message in str(raised.value)
