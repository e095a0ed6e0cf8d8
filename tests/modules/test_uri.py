"""`uri`: the request as curl sends it to a server of this machine, and its answer."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from runner.hosts.script import Command, Result
from runner.modules.base import Context, Outcome, Refused, Unknown
from runner.modules.uri import Uri, UriArguments, parse_answer
from tests.files.web import Site, serving

CONTEXT = Context("gpu1", notified=True)


@pytest.fixture
def site() -> Iterator[Site]:
    pages: dict[str, bytes | int | str] = {
        "/json": b'{"ok": [1, "\xc3\xbc"]}',
        "/text": b"no json",
        "/moved": "-> /json",
        "/busy": 503,
    }
    with serving(pages) as site:
        yield site


def run(shell: str, stdin: bytes) -> Result:
    done = subprocess.run(["sh", "-c", shell], input=stdin, capture_output=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def ask(**arguments: Any) -> Outcome:
    args = UriArguments.model_validate(arguments)
    (probe,) = Uri().probes(args, CONTEXT)
    state = probe.parse(run(probe.shell, probe.stdin))
    return Uri().plan(args, {probe.key: state}, CONTEXT)


def send(**arguments: Any) -> Result:
    args = UriArguments.model_validate(arguments)
    assert Uri().probes(args, CONTEXT) == ()
    (change,) = Uri().plan(args, {}, CONTEXT).changes
    assert not change.predictable
    (command,) = change.do
    assert isinstance(command, Command)
    return run(command.shell, command.stdin)


def test_a_get_registers_what_came_back(site: Site) -> None:
    outcome = ask(url=f"{site.url}/json", return_content=True)
    assert outcome.changes == ()
    result = outcome.result
    assert (result["status"], result["json"]) == (200, {"ok": [1, "ü"]})
    assert json.loads(result["content"]) == result["json"]
    assert result["content_type"] == "application/json"
    assert result["headers"]["content-length"] == str(len(site.pages["/json"]))  # type: ignore[arg-type]
    assert "content" not in ask(url=f"{site.url}/json").result


def test_a_look_follows_a_redirect(site: Site) -> None:
    result = ask(url=f"{site.url}/moved").result
    assert (result["url"], result["json"]["ok"][0]) == (f"{site.url}/json", 1)


def test_a_head_has_no_body(site: Site) -> None:
    assert ask(url=f"{site.url}/text", method="head").result["status"] == 200
    assert site.requests[0].method == "HEAD"


def test_another_status_refuses_and_is_still_registered(site: Site) -> None:
    with pytest.raises(Refused, match="/busy: status 503, expected 200") as refused:
        ask(url=f"{site.url}/busy")
    assert refused.value.result["status"] == 503
    assert ask(url=f"{site.url}/busy", status_code=[200, 503]).result["status"] == 503


def test_nobody_answers(site: Site) -> None:
    with pytest.raises(Refused, match="curl: ") as refused:
        ask(url="http://127.0.0.1:1/x")
    assert refused.value.result["status"] == -1


def test_what_says_it_is_json_but_is_not(site: Site) -> None:
    with pytest.raises(Refused, match="says that it is JSON, but it is not"):
        ask(url=f"{site.url}/text")


def test_a_post_sends_its_body_as_it_is(site: Site) -> None:
    body = {"text": '@file "quoted" \\ and\nlines', "n": 1}
    headers = {"X-Token": "t"}
    done = send(
        url=f"{site.url}/json",
        method="POST",
        body=body,
        body_format="json",
        headers=headers,
        url_username="me",
        url_password='p"w',
    )
    assert (done.rc, json.loads(done.stdout)) == (0, {"ok": [1, "ü"]})
    (request,) = site.requests
    assert (request.method, json.loads(request.body)) == ("POST", body)
    assert request.headers["Content-Type"] == "application/json"
    assert base64.b64decode(request.headers["Authorization"].split()[1]) == b'me:p"w'
    send(url=f"{site.url}/json", method="PUT", body="@/etc/hostname")
    assert site.requests[1].body == b"@/etc/hostname"
    send(url=f"{site.url}/json", method="POST", body={"a b": "c&d"}, body_format="form-urlencoded")
    assert site.requests[2].body == b"a+b=c%26d"


def test_a_post_that_is_not_accepted_is_a_failure(site: Site) -> None:
    done = send(url=f"{site.url}/busy", method="POST")
    assert (done.rc, done.error_text) == (1, "status 503, expected 200")
    assert send(url=f"{site.url}/busy", method="DELETE", status_code=503).rc == 0


def test_secrets_are_on_standard_input_only() -> None:
    args = UriArguments.model_validate(
        {"url": "http://a/", "headers": {"X-Token": "s3cret"}, "url_password": "s3cret"}
    )
    (probe,) = Uri().probes(args, CONTEXT)
    assert "s3cret" not in probe.shell + probe.key
    other = UriArguments.model_validate({"url": "http://a/", "headers": {"X-Token": "other"}})
    assert Uri().probes(other, CONTEXT)[0].key != probe.key


def test_without_curl_nothing_is_known() -> None:
    with pytest.raises(Unknown, match="cannot be asked: no curl"):
        parse_answer("http://a/", Result(127, b"", b"no curl"))
    with pytest.raises(Unknown, match="the answer broke off"):
        parse_answer("http://a/", Result(0, b"status 200 http://a/\nhead\n"))


@pytest.mark.parametrize(
    ("method", "looks"), [("GET", True), ("head", True), ("POST", False), ("{{ x }}", False)]
)
def test_only_what_looks_may_stand_in_verify(method: str, looks: bool) -> None:
    assert Uri().looks_only({"method": method}) is looks
    assert Uri().looks_only({})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"body": {"a": 1}}, "say with body_format how it is sent"),
        ({"body": [1], "body_format": "form-urlencoded"}, "is a mapping"),
        ({"method": "FETCH"}, "'GET', 'HEAD'"),
        ({"status_code": []}, "at least 1 item"),
        ({"url": "file:///etc/passwd"}, "not a URL beginning with http"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        UriArguments.model_validate({"url": "http://a/", **arguments})
    assert message in str(raised.value)
