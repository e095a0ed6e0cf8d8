"""`get_url`: downloaded by the host, taken only with the right checksum."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.hosts.script import Command, Result
from runner.modules.base import Change, Refused
from runner.modules.get_url import GetUrlArguments, curl_config
from tests.files.local import Local, build, overlaid, run, snapshot
from tests.files.web import Site, serving

CONTENT = b"#!/bin/sh\necho \xff\n" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving({"/tool": CONTENT, "/moved": "-> /tool", "/a%20b": CONTENT}) as site:
        yield site


@pytest.fixture
def host(tmp_path: Path) -> Local:
    root = tmp_path / "host"
    root.mkdir()
    return Local(root)


def arguments(site: Site, host: Local, **more: Any) -> dict[str, Any]:
    given = {"url": f"{site.url}/tool", "dest": f"{host.root}/tool", "checksum": f"sha256:{DIGEST}"}
    return given | more


def only(host: Local, given: dict[str, Any]) -> Change:
    (change,) = host.plan("get_url", given, host.observe("get_url", given)).changes
    return change


def execute(change: Change, path: str = "") -> Result:
    (command,) = change.do
    assert isinstance(command, Command)
    prefix = f"PATH={path}\n" if path else ""
    return run(prefix + command.shell, command.stdin)


def test_downloaded_once_and_known_by_its_checksum(site: Site, host: Local) -> None:
    given = arguments(site, host, mode="0755")
    observed = host.observe("get_url", given)
    outcome = host.plan("get_url", given, observed)
    (change,) = outcome.changes
    assert site.requests == []
    assert change.diff is not None and change.diff.after == f"(sha256 {DIGEST})\n"
    assert not host.plan("get_url", given, overlaid(observed, outcome)).changes
    host.apply(change)
    assert (host.root / "tool").read_bytes() == CONTENT
    assert snapshot(host.root)["tool"][0] == "file 0755"
    assert [request.path for request in site.requests] == ["/tool"]
    site.pages["/tool"] = b"something new"
    assert not host.plan("get_url", given, host.observe("get_url", given)).changes
    host.do(change.undo)
    assert snapshot(host.root) == {}


def test_only_the_mode_differs_then_nothing_is_downloaded(site: Site, host: Local) -> None:
    (host.root / "tool").write_bytes(CONTENT)
    host.apply(only(host, arguments(site, host, mode="0700")))
    assert site.requests == []
    assert snapshot(host.root)["tool"][0] == "file 0700"


def test_another_content_is_not_taken(site: Site, host: Local) -> None:
    build(host.root, {"tool": "old\n"})
    change = only(host, arguments(site, host))
    site.pages["/tool"] = b"evil"
    result = execute(change)
    assert result.rc == 1
    evil = hashlib.sha256(b"evil").hexdigest()
    assert f"has the SHA-256 {evil}, not {DIGEST}; the old file is untouched" in result.error_text
    assert snapshot(host.root) == {"tool": ("file 0644", "old\n")}


def test_what_is_not_there_says_so(site: Site, host: Local) -> None:
    result = execute(only(host, arguments(site, host, url=f"{site.url}/nowhere")))
    assert result.rc == 22
    assert "404" in result.error_text
    assert snapshot(host.root) == {}


def test_secrets_travel_on_standard_input(site: Site, host: Local) -> None:
    headers = {"X-Token": 'a "quoted\\ token', "X-Number": 7}
    given = arguments(site, host, headers=headers, url_username="me", url_password="p w")
    change = only(host, given)
    (command,) = change.do
    assert isinstance(command, Command)
    assert "token" not in command.shell + command.key and "p w" not in command.shell
    host.apply(change)
    (request,) = site.requests
    assert request.headers["X-Token"] == 'a "quoted\\ token'
    assert request.headers["X-Number"] == "7"
    assert base64.b64decode(request.headers["Authorization"].split()[1]) == b"me:p w"


def test_a_redirect_is_followed_and_a_folder_takes_the_urls_name(site: Site, host: Local) -> None:
    host.apply(only(host, arguments(site, host, url=f"{site.url}/moved", dest=f"{host.root}/")))
    assert (host.root / "moved").read_bytes() == CONTENT


def test_an_old_file_is_kept_where_that_is_wanted(site: Site, host: Local) -> None:
    build(host.root, {"tool": "old\n"})
    change = only(host, arguments(site, host, backup=True))
    host.apply(change)
    kept = [name for name in snapshot(host.root) if name.endswith("~")]
    assert len(kept) == 1
    host.do(change.undo)
    assert snapshot(host.root)["tool"] == ("file 0644", "old\n")


def programs(folder: Path, *names: str) -> str:
    """A PATH with only these programs."""
    folder.mkdir()
    needed = ["cat", "cut", "sha256sum", "mktemp", "mv", "rm", "cp", "sync", "chown", "chmod"]
    for name in (*names, *needed):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return str(folder)


def test_wget_does_where_there_is_no_curl(site: Site, host: Local, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "wget")
    assert execute(only(host, arguments(site, host)), path).rc == 0
    assert (host.root / "tool").read_bytes() == CONTENT
    secret = only(host, arguments(site, host, dest=f"{host.root}/b", headers={"X-A": "b"}))
    result = execute(secret, path)
    assert result.rc == 127
    assert result.error_text.endswith("this host has no curl to download with")


def test_neither_curl_nor_wget(site: Site, host: Local, tmp_path: Path) -> None:
    result = execute(only(host, arguments(site, host)), programs(tmp_path / "bin"))
    assert "this host has no curl to download with, and no wget" in result.error_text
    assert snapshot(host.root) == {}


def test_what_is_only_planned_cannot_be_edited(site: Site, host: Local) -> None:
    given = arguments(site, host)
    view = host.observe("get_url", given)
    view = overlaid(view, host.plan("get_url", given, view))
    edit = {"path": f"{host.root}/tool", "line": "x"}
    with pytest.raises(Refused, match="is downloaded by an earlier task of this play"):
        host.plan("lineinfile", edit, view)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "ftp://a/b"}, "not a URL beginning with http"),
        ({"url": "https://u:p@a/b"}, "in url_username and url_password"),
        ({"url": "https://a/b c"}, "encode them"),
        ({"checksum": DIGEST}, "should match pattern"),
        ({"checksum": "md5:0"}, "should match pattern"),
        ({"url": "https://a/", "dest": "/b/"}, "the URL names no file"),
        ({"headers": {"A": "b\nC: d"}}, "holds a control character"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(values: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"url": "https://a/b", "dest": "/b", "checksum": f"sha256:{DIGEST}"}
    with pytest.raises(ValidationError) as raised:
        GetUrlArguments(**given | values)
    assert message in str(raised.value)


def test_certificates_are_checked_unless_told_otherwise() -> None:
    given: dict[str, Any] = {"url": "https://a/b", "dest": "/b"}
    given["checksum"] = f"sha256:{DIGEST}"
    assert "insecure" not in curl_config(GetUrlArguments(**given), 5)
    given["validate_certs"] = False
    assert "insecure\n" in curl_config(GetUrlArguments(**given), 5)
