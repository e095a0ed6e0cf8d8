"""`docker_runtime` on files of this machine, held against what nvidia-ctk makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.hosts.script import Command
from runner.modules.base import Refused, Risk
from tests.files.local import Local, overlaid, run

MODULE = "docker_runtime"
NVIDIA = {"path": "/usr/bin/nvidia-container-runtime", "args": []}

DOCKERD = """#!/bin/sh
case $* in
--help) echo "      --validate                Validate daemon configuration and exit" ;;
"--validate --config-file "*)
  if grep -q nope "$3"; then
    echo "unable to configure the Docker daemon with file $3: the following directives don't" \
      "match any configuration option: nope" >&2
    exit 1
  fi
  echo "configuration OK" ;;
*) exit 125 ;;
esac
"""
"""What dockerd 26.1.5 of Debian 13 says."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    program = tmp_path / "bin" / "dockerd"
    program.parent.mkdir()
    program.write_text(DOCKERD)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "host").mkdir()
    return Local(tmp_path / "host")


def applied(host: Local, text: str | None, **more: Any) -> str | None:
    """Write, plan, check the prediction, do; nothing is left to do. What is there afterwards."""
    path = host.root / "daemon.json"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_bytes(text.encode())
    arguments = {"path": str(path), **more}
    observed = host.observe(MODULE, arguments)
    outcome = host.plan(MODULE, arguments, observed)
    assert not host.plan(MODULE, arguments, overlaid(observed, outcome)).changes
    for change in outcome.changes:
        assert change.risk >= Risk.MEDIUM or more.get("state") == "absent"
        host.apply(change)
    assert not host.plan(MODULE, arguments, host.observe(MODULE, arguments)).changes
    return path.read_bytes().decode() if path.exists() else None


# What nvidia-ctk's engine makes of each (pkg/config/engine/docker: AddRuntime, EnableCDI).
MEANT: dict[str, tuple[str | None, dict[str, Any], dict[str, Any]]] = {
    "nothing": (None, {}, {"runtimes": {"nvidia": NVIDIA}}),
    "empty": ("", {}, {"runtimes": {"nvidia": NVIDIA}}),
    "an empty object": ("{}", {}, {"runtimes": {"nvidia": NVIDIA}}),
    "default": (
        None,
        {"set_as_default": True},
        {"runtimes": {"nvidia": NVIDIA}, "default-runtime": "nvidia"},
    ),
    "another default stays": (
        '{"default-runtime": "kata"}',
        {},
        {"default-runtime": "kata", "runtimes": {"nvidia": NVIDIA}},
    ),
    "an nvidia default that nobody asks about stays": (
        '{"default-runtime": "nvidia"}',
        {},
        {"default-runtime": "nvidia", "runtimes": {"nvidia": NVIDIA}},
    ),
    "an nvidia default is taken back": (
        '{"default-runtime": "nvidia", "debug": true}',
        {"set_as_default": False},
        {"debug": True, "runtimes": {"nvidia": NVIDIA}},
    ),
    "another runtime stays": (
        '{"runtimes": {"gvisor": {"path": "runsc", "runtimeArgs": ["--debug"]}}}',
        {},
        {"runtimes": {"gvisor": {"path": "runsc", "runtimeArgs": ["--debug"]}, "nvidia": NVIDIA}},
    ),
    "an old program": (
        '{"runtimes": {"nvidia": {"path": "/opt/old", "args": ["-x"], "runtimeArgs": ["-y"]}}}',
        {},
        {"runtimes": {"nvidia": NVIDIA}},
    ),
    "CDI": (
        '{"features": {"buildkit": true}}',
        {"enable_cdi": True},
        {"features": {"buildkit": True, "cdi": True}, "runtimes": {"nvidia": NVIDIA}},
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_as_nvidia_ctk_means_it(host: Local, name: str) -> None:
    text, arguments, expected = MEANT[name]
    after = applied(host, text, **arguments)
    assert after is not None and json.loads(after) == expected


LAID_OUT = """\
{
\t"log-driver": "json-file",
\t"features": {"buildkit": true},
\t"insecure-registries": [ "10.0.0.0/8" ]
}
"""


@pytest.mark.parametrize("text", [LAID_OUT, LAID_OUT.replace("\n", "\r\n"), '{"debug":true}'])
def test_the_rest_stays_as_it_is_and_no_trace_is_left(host: Local, text: str) -> None:
    after = applied(host, text, set_as_default=True)
    assert after is not None and json.loads(after)["default-runtime"] == "nvidia"
    assert all(line in after.splitlines() for line in text.splitlines()[:-2])
    assert applied(host, after, set_as_default=True) == after
    assert applied(host, after, state="absent") == text


def test_a_file_that_was_made_for_it_goes_with_it(host: Local) -> None:
    after = applied(host, None, set_as_default=True)
    assert applied(host, after, state="absent") is None
    assert applied(host, None, state="absent") is None
    assert applied(host, "{}\n", state="absent") == "{}\n"


@pytest.mark.parametrize("entry", ['{"path": "nvidia-container-runtime"}', json.dumps(NVIDIA)])
def test_an_entry_that_means_it_is_left_alone(host: Local, entry: str) -> None:
    text = f'{{"runtimes": {{"nvidia": {entry}}}}}'
    assert applied(host, text) == text


def test_what_dockerd_refuses_never_replaces_the_file(host: Local) -> None:
    path = host.root / "daemon.json"
    path.write_text('{"nope": 1}')
    arguments = {"path": str(path)}
    (change,) = host.plan(MODULE, arguments, host.observe(MODULE, arguments)).changes
    (command,) = change.do
    assert isinstance(command, Command)
    result = run(command.shell, command.stdin)
    assert result.rc != 0 and "match any configuration option: nope" in result.error_text
    assert path.read_text() == '{"nope": 1}'


def test_a_dockerd_that_cannot_validate_is_not_asked(host: Local) -> None:
    path = host.root / "daemon.json"
    path.write_text('{"nope": 1}')
    older = Local(host.root, extra={"docker-validator": False})
    arguments = {"path": str(path)}
    (change,) = older.plan(MODULE, arguments, older.observe(MODULE, arguments)).changes
    older.apply(change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"debug": true,}', "line 1, column"),
        ('// ours\n{"debug": true}', "line 1, column 1"),
        ("[]", "holds no JSON object"),
        ('{"runtimes": []}', "runtimes is a value, a table is wanted"),
        ('{"debug": 1, "debug": 2}', "stands twice"),
    ],
)
def test_a_file_that_is_not_understood_is_left_alone(host: Local, text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        applied(host, text)
